"""The Triton servers behind a gateway, and the bundles on them."""
