#!/bin/sh
# Brings sessions to pinhole (iptables); written by `pinhole net plan --backend iptables`.
# It touches nothing that is not pinhole's own, and may be run again at any time.
#
# Yours to do. Sessions and pinholes end in sockets on this host: they pass INPUT, never FORWARD. If your
# input chain drops by default, this line belongs to its top, before `ct state invalid` is dropped too: both
# legs of a session may have the same addresses and ports, which connection tracking takes for one connection
# out of step.
#     iptables --insert INPUT -m mark --mark 0x1000000/0x1000000 -j ACCEPT
#     ip6tables --insert INPUT -m mark --mark 0x1000000/0x1000000 -j ACCEPT
# Where sessions come in by a bridge, net.bridge.bridge-nf-call-iptables and -ip6tables must be 0.
#
# To undo:
#     iptables -t mangle -D PREROUTING -j PINHOLE; iptables -t mangle -F PINHOLE; iptables -t mangle -X PINHOLE
#     iptables -t mangle -D FORWARD -j PINHOLE-GUARD; iptables -t mangle -F PINHOLE-GUARD; iptables -t mangle -X PINHOLE-GUARD
#     iptables -t mangle -X PINHOLE-NEW-TABLE 2>/dev/null
#     ip6tables -t mangle -D PREROUTING -j PINHOLE; ip6tables -t mangle -F PINHOLE; ip6tables -t mangle -X PINHOLE
#     ip6tables -t mangle -D FORWARD -j PINHOLE-GUARD; ip6tables -t mangle -F PINHOLE-GUARD; ip6tables -t mangle -X PINHOLE-GUARD
#     ip6tables -t mangle -X PINHOLE-NEW-TABLE 2>/dev/null
#     ip -4 rule flush protocol 213
#     ip -4 route flush table all protocol 213
#     ip -6 rule flush protocol 213
#     ip -6 route flush table all protocol 213
(
set -e

# IPv4: what is marked is for this host. Protocol 213 says that an entry is ours.
ip -4 rule flush protocol 213
ip -4 route flush table all protocol 213
ip -4 route replace local default dev lo table 5353 protocol 213
ip -4 rule add priority 102 nop protocol 213
ip -4 rule add priority 101 fwmark 0x1000000/0x1000000 lookup 5353 protocol 213
ip -4 rule add priority 100 iif lo fwmark 0x1000000/0x1000000 goto 102 protocol 213

# IPv6: what is marked is for this host. Protocol 213 says that an entry is ours.
if grep -q . /proc/net/if_inet6 2>/dev/null; then
ip -6 rule flush protocol 213
ip -6 route flush table all protocol 213
ip -6 route replace local default dev lo table 5353 protocol 213
ip -6 rule add priority 102 nop protocol 213
ip -6 rule add priority 101 fwmark 0x1000000/0x1000000 lookup 5353 protocol 213
ip -6 rule add priority 100 iif lo fwmark 0x1000000/0x1000000 goto 102 protocol 213
fi

# IPv4: where there is no mangle table yet, remember that.
sh -c 'iptables-save | grep -q '"'"'^[*]mangle'"'"'' 2>/dev/null || iptables --wait --table mangle --new-chain PINHOLE-NEW-TABLE

# The firewall rules, IPv4: our own chains PINHOLE and PINHOLE-GUARD, emptied and filled at once ...
iptables-restore --noflush --wait <<'EOF'
*mangle
:PINHOLE - [0:0]
:PINHOLE-GUARD - [0:0]
-A PINHOLE -i lo -m comment --comment "pinhole 823dca34a8e1" -j RETURN
-A PINHOLE -m socket --transparent -j MARK --set-xmark 0x1000000/0x1000000
-A PINHOLE -s 10.0.0.0/8 -p 47 -m u32 --u32 "0>>22&0x3C@0&0x7FFFF=0x1880B" -m addrtype --dst-type UNICAST -m comment --comment "policy private" -j MARK --set-xmark 0x1000000/0x1000000
-A PINHOLE -s 172.16.0.0/12 -p 47 -m u32 --u32 "0>>22&0x3C@0&0x7FFFF=0x1880B" -m addrtype --dst-type UNICAST -m comment --comment "policy private" -j MARK --set-xmark 0x1000000/0x1000000
-A PINHOLE -s 192.168.0.0/16 -p 47 -m u32 --u32 "0>>22&0x3C@0&0x7FFFF=0x1880B" -m addrtype --dst-type UNICAST -m comment --comment "policy private" -j MARK --set-xmark 0x1000000/0x1000000
-A PINHOLE -d 10.0.0.0/8 -p 47 -m u32 --u32 "0>>22&0x3C@0&0x7FFFF=0x1880B" -m addrtype --dst-type UNICAST -m comment --comment "policy private" -j MARK --set-xmark 0x1000000/0x1000000
-A PINHOLE -d 172.16.0.0/12 -p 47 -m u32 --u32 "0>>22&0x3C@0&0x7FFFF=0x1880B" -m addrtype --dst-type UNICAST -m comment --comment "policy private" -j MARK --set-xmark 0x1000000/0x1000000
-A PINHOLE -d 192.168.0.0/16 -p 47 -m u32 --u32 "0>>22&0x3C@0&0x7FFFF=0x1880B" -m addrtype --dst-type UNICAST -m comment --comment "policy private" -j MARK --set-xmark 0x1000000/0x1000000
-A PINHOLE -m mark --mark 0x1000000/0x1000000 -j ACCEPT
-A PINHOLE -s 10.0.0.0/8 -p tcp -m multiport --dports 21,111,135,512,514,554,1521,1720,1723,5060,7070,8554 -m pkttype --pkt-type unicast -m addrtype ! --dst-type LOCAL -m comment --comment "policy private" -j TPROXY --on-ip 127.0.0.1 --on-port 50000 --tproxy-mark 0x1000000/0x1000000
-A PINHOLE -s 172.16.0.0/12 -p tcp -m multiport --dports 21,111,135,512,514,554,1521,1720,1723,5060,7070,8554 -m pkttype --pkt-type unicast -m addrtype ! --dst-type LOCAL -m comment --comment "policy private" -j TPROXY --on-ip 127.0.0.1 --on-port 50000 --tproxy-mark 0x1000000/0x1000000
-A PINHOLE -s 192.168.0.0/16 -p tcp -m multiport --dports 21,111,135,512,514,554,1521,1720,1723,5060,7070,8554 -m pkttype --pkt-type unicast -m addrtype ! --dst-type LOCAL -m comment --comment "policy private" -j TPROXY --on-ip 127.0.0.1 --on-port 50000 --tproxy-mark 0x1000000/0x1000000
-A PINHOLE -s 10.0.0.0/8 -p udp -m multiport --dports 69,111,135,1719,2427,2727,5060 -m pkttype --pkt-type unicast -m addrtype ! --dst-type LOCAL -m comment --comment "policy private" -j TPROXY --on-ip 127.0.0.1 --on-port 50000 --tproxy-mark 0x1000000/0x1000000
-A PINHOLE -s 172.16.0.0/12 -p udp -m multiport --dports 69,111,135,1719,2427,2727,5060 -m pkttype --pkt-type unicast -m addrtype ! --dst-type LOCAL -m comment --comment "policy private" -j TPROXY --on-ip 127.0.0.1 --on-port 50000 --tproxy-mark 0x1000000/0x1000000
-A PINHOLE -s 192.168.0.0/16 -p udp -m multiport --dports 69,111,135,1719,2427,2727,5060 -m pkttype --pkt-type unicast -m addrtype ! --dst-type LOCAL -m comment --comment "policy private" -j TPROXY --on-ip 127.0.0.1 --on-port 50000 --tproxy-mark 0x1000000/0x1000000
-A PINHOLE-GUARD -m mark --mark 0x1000000/0x1000000 -j DROP
COMMIT
EOF

# ... and one jump to each, before all else: what is ours, no other rule sees.
sh -c 'test "$(iptables --wait --table mangle --list-rules PREROUTING 1)" = "-A PREROUTING -j PINHOLE"' 2>/dev/null || sh -c 'iptables --wait --table mangle --delete PREROUTING --jump PINHOLE 2>/dev/null; iptables --wait --table mangle --insert PREROUTING --jump PINHOLE'
sh -c 'test "$(iptables --wait --table mangle --list-rules FORWARD 1)" = "-A FORWARD -j PINHOLE-GUARD"' 2>/dev/null || sh -c 'iptables --wait --table mangle --delete FORWARD --jump PINHOLE-GUARD 2>/dev/null; iptables --wait --table mangle --insert FORWARD --jump PINHOLE-GUARD'

# IPv6: where there is no mangle table yet, remember that.
if grep -q . /proc/net/if_inet6 2>/dev/null; then
sh -c 'ip6tables-save | grep -q '"'"'^[*]mangle'"'"'' 2>/dev/null || ip6tables --wait --table mangle --new-chain PINHOLE-NEW-TABLE

# The firewall rules, IPv6: our own chains PINHOLE and PINHOLE-GUARD, emptied and filled at once ...
ip6tables-restore --noflush --wait <<'EOF'
*mangle
:PINHOLE - [0:0]
:PINHOLE-GUARD - [0:0]
-A PINHOLE -i lo -m comment --comment "pinhole 11e35be41787" -j RETURN
-A PINHOLE -m socket --transparent -j MARK --set-xmark 0x1000000/0x1000000
-A PINHOLE -m mark --mark 0x1000000/0x1000000 -j ACCEPT
-A PINHOLE -s fc00::/7 -p tcp -m multiport --dports 21,111,135,512,514,554,1521,1720,1723,5060,7070,8554 -m pkttype --pkt-type unicast -m addrtype ! --dst-type LOCAL -m comment --comment "policy private" -j TPROXY --on-ip ::1 --on-port 50000 --tproxy-mark 0x1000000/0x1000000
-A PINHOLE -s fc00::/7 -p udp -m multiport --dports 69,111,135,1719,2427,2727,5060 -m pkttype --pkt-type unicast -m addrtype ! --dst-type LOCAL -m comment --comment "policy private" -j TPROXY --on-ip ::1 --on-port 50000 --tproxy-mark 0x1000000/0x1000000
-A PINHOLE-GUARD -m mark --mark 0x1000000/0x1000000 -j DROP
COMMIT
EOF

# ... and one jump to each, before all else: what is ours, no other rule sees.
sh -c 'test "$(ip6tables --wait --table mangle --list-rules PREROUTING 1)" = "-A PREROUTING -j PINHOLE"' 2>/dev/null || sh -c 'ip6tables --wait --table mangle --delete PREROUTING --jump PINHOLE 2>/dev/null; ip6tables --wait --table mangle --insert PREROUTING --jump PINHOLE'
sh -c 'test "$(ip6tables --wait --table mangle --list-rules FORWARD 1)" = "-A FORWARD -j PINHOLE-GUARD"' 2>/dev/null || sh -c 'ip6tables --wait --table mangle --delete FORWARD --jump PINHOLE-GUARD 2>/dev/null; ip6tables --wait --table mangle --insert FORWARD --jump PINHOLE-GUARD'
fi
)
