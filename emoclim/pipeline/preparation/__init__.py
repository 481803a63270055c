"""Write the manifest of a data set, and describe the data sets that there are."""
