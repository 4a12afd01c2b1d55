//! Intake, execution, journal, evidence and uplink of one host.
