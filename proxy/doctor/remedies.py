"""What an administrator does so that packets of ours pass by a chain of others, and keep passing (pure)."""

from __future__ import annotations

from proxy.config.schema import Config
from proxy.doctor.firewall import Firewall
from proxy.doctor.rulesets import Chain
from proxy.host import rules
from proxy.host.rules import Backend


def accept_ours(config: Config, base: Chain) -> str:
    """The command that lets packets with our mark by a base chain."""
    if base.tool == "nft":
        line = rules.input_line(config, Backend.NFT)
        return f"nft insert rule {base.family} {base.table} {base.name} {line}"
    table = "" if base.table == "filter" else f" -t {base.table}"
    return f"{base.tool}{table} --insert {base.name} {rules.input_line(config, Backend.IPTABLES)}"


def lasting(config: Config, firewall: Firewall, base: Chain) -> str:
    """A comment that says where the line belongs so that the tool which wrote the chain keeps it. It is "" when that
    tool is not known."""
    names = {chain.name for chain in firewall.chains.values() if (chain.tool, chain.table) == (base.tool, base.table)}
    nft_line, line = rules.input_line(config, Backend.NFT), rules.input_line(config, Backend.IPTABLES)
    if base.tool == "nft" and base.table == "firewalld":
        return "  # firewalld forgets it at each reload; to last: systemctl enable --now pinhole-firewalld (configs/)"
    if base.tool == "nft" and base.table == "fw4":
        directory = f"/usr/share/nftables.d/chain-pre/{base.name}"
        return f"  # to last: mkdir -p {directory}; echo '{nft_line}' >{directory}/pinhole.nft; fw4 reload"
    if base.tool == "nft" and base.table == "nixos-fw":
        return f'  # to last: networking.firewall.extraInputRules = "{nft_line}";'
    for chain, file in (("ufw-before-input", "before.rules"), ("ufw6-before-input", "before6.rules")):
        if chain in names:
            return f"  # to last: sed -i '/^# End required lines/a -A {chain} {line}' /etc/ufw/{file}; ufw reload"
    if "shorewall" in names:
        directory = "shorewall6" if base.tool.startswith("ip6") else "shorewall"
        where = f"{base.name} {line}"
        return f"  # to last: echo 'run_iptables -I {where}' >>/etc/{directory}/started; {directory} reload"
    if "nixos-fw" in names:
        return f'  # to last: networking.firewall.extraCommands = "{accept_ours(config, base)}";'
    return ""
