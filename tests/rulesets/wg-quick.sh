# wg-quick up with AllowedIPs 0.0.0.0/0: the rules have no priority. A bridge stands for the tunnel.
ip link add wg0 type bridge
ip address add 10.9.0.2/32 dev wg0
ip link set wg0 up
ip -4 route add 0.0.0.0/0 dev wg0 table 51820
ip -4 rule add not fwmark 51820 table 51820
ip -4 rule add table main suppress_prefixlength 0
sysctl -qw net.ipv4.conf.all.src_valid_mark=1
