"""What pinhole sets up on its host: firewall rules, routes and rights, and a guard that keeps them."""
