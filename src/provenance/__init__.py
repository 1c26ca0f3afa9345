"""What results come from: the code of the classes that a run is made of."""
