//! Runs one process tree under limits, accounts for it and ends it. The only unsafe code.
