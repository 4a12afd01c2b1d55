//! Doors, desk and clocks of the controller.
