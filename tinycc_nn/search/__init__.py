"""The genetic search: which passes, with which options, in which order, for this device."""
