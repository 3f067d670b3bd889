"""What pinhole sets up on its host: firewall rules, routes, rights; and who watches that they stay."""
