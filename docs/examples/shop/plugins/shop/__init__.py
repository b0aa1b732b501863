"""Sales of a shop: an example of data of one's own on the package's building blocks (docs/examples/shop/README.md)."""
