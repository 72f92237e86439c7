"""Many hospitals on one machine: artificial hospitals, sites in one process, the demonstration."""
