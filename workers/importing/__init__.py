"""Dataset import jobs; export and deletion jobs will join them."""
