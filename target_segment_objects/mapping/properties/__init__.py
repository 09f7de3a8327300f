"""How the properties of a stream are sent: their names and types, remembered across SCHEMAs."""
