"""What stands between a request and the gateway: keys, rates, sizes, headers."""
