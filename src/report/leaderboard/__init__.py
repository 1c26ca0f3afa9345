"""Methods with and without the coordinates at equal measured tokens: rows, plot and page."""
