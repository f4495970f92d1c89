"""The checks of the exercises: a module for each notebook, a function for each exercise."""
