"""The private parts of other libraries that this one stands on: nowhere else are they used."""
