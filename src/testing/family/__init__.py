"""Whether a family states its model as it is: layout, projections, rotation, exactness."""
