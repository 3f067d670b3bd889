ip -4 route add default via 198.51.100.2 dev wan0 table 1
ip -4 rule add pref 1001 iif wan0 table 1
ip -4 rule add pref 2001 fwmark 0x100/0x3f00 table 1
ip -4 rule add pref 2061 fwmark 0x3d00/0x3f00 type blackhole
ip -4 rule add pref 2062 fwmark 0x3e00/0x3f00 type unreachable
