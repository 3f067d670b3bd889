ip link add tailscale0 type bridge
ip address add 100.101.102.104/32 dev tailscale0
ip link set tailscale0 up
ip -4 rule add pref 5210 fwmark 0x80000/0xff0000 table main
ip -4 rule add pref 5230 fwmark 0x80000/0xff0000 table default
ip -4 rule add pref 5250 fwmark 0x80000/0xff0000 type unreachable
ip -4 rule add pref 5270 table 52
ip -6 rule add pref 5210 fwmark 0x80000/0xff0000 table main
ip -6 rule add pref 5230 fwmark 0x80000/0xff0000 table default
ip -6 rule add pref 5250 fwmark 0x80000/0xff0000 type unreachable
ip -6 rule add pref 5270 table 52
ip route add 100.100.100.100/32 dev tailscale0 table 52
