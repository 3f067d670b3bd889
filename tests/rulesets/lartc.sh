ip -4 route add default via 198.51.100.2 dev wan0 table 201
ip -4 rule add pref 1000 fwmark 0x1 table 201
