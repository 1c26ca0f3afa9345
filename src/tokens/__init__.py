"""What a selector sees: rows of visual tokens, their geometry, and the signals of the model."""
