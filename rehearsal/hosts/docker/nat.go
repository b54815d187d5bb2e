package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// This host translates public addresses, as AWS's internet gateway does: a machine never sees its own public address.
// Traffic from outside, which is from this host only, has the operator's address as its source. Traffic from a machine to a
// public address has the machine's own public address as its source; it is dropped if the machine has none. Nothing
// else enters or leaves a VPC.

// tableName returns the name of the nftables table of a state directory.
func tableName(stateDir string) string {
	sum := sha256.Sum256([]byte(stateDir))
	return "eco2-" + hex.EncodeToString(sum[:])[:12]
}

// setHostRules replaces this host's nftables table with the NAT and forwarding rules for the desired state, in one
// transaction. Without networks it removes the table.
func setHostRules(stateDir string, w desired) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("opening nftables: %w", err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName(stateDir)}
	// Added first, so that the delete does not fail where there is no table yet.
	c.AddTable(table)
	c.DelTable(table)
	if len(w.networks) > 0 {
		c.AddTable(table)
		chains := hostChains(c, table)
		for _, m := range w.machines {
			private := netip.MustParseAddr(m.PrivateIP)
			public, err := netip.ParseAddr(m.PublicIP)
			if err != nil { // it has none
				c.AddRule(&nftables.Rule{Table: table, Chain: chains.forward, Exprs: with(
					from(m.network.bridge()), source(private), translated(), drop())})
				continue
			}
			for _, chain := range []*nftables.Chain{chains.output, chains.prerouting} {
				c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: with(destination(public), nat(expr.NATTypeDestNAT, private))})
			}
			c.AddRule(&nftables.Rule{Table: table, Chain: chains.postrouting, Exprs: with(
				source(private), translated(), nat(expr.NATTypeSourceNAT, public))})
		}
		for _, n := range w.networks {
			c.AddRule(&nftables.Rule{Table: table, Chain: chains.forward, Exprs: with(from(n.bridge()), notTo(n.bridge()), unreachable())})
			c.AddRule(&nftables.Rule{Table: table, Chain: chains.forward, Exprs: with(notFrom(n.bridge()), to(n.bridge()), drop())})
			// Machines must not open connections to this host: it is not part of the VPC.
			c.AddRule(&nftables.Rule{Table: table, Chain: chains.input, Exprs: with(from(n.bridge()), isNew(), drop())})
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("setting the host's nftables table %s: %w", table.Name, err)
	}
	return nil
}

type chains struct{ output, prerouting, postrouting, forward, input *nftables.Chain }

func hostChains(c *nftables.Conn, table *nftables.Table) chains {
	add := func(name string, typ nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
		return c.AddChain(&nftables.Chain{Table: table, Name: name, Type: typ, Hooknum: hook, Priority: priority})
	}
	return chains{
		output:      add("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest),
		prerouting:  add("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest),
		postrouting: add("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource),
		forward:     add("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter),
		input:       add("input", nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter),
	}
}

// The expressions of a rule. nftables loads a value into a register and compares it.

func with(parts ...[]expr.Any) (rule []expr.Any) {
	for _, part := range parts {
		rule = append(rule, part...)
	}
	return rule
}

// The offsets of the two addresses in an IPv4 header.
const (
	sourceOffset      = 12
	destinationOffset = 16
)

func source(a netip.Addr) []expr.Any      { return address(sourceOffset, a) }
func destination(a netip.Addr) []expr.Any { return address(destinationOffset, a) }

func address(offset uint32, a netip.Addr) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: net.IPv4len},
		&expr.Cmp{Register: 1, Op: expr.CmpOpEq, Data: a.AsSlice()},
	}
}

func from(device string) []expr.Any { return through(expr.MetaKeyIIFNAME, expr.CmpOpEq, device) }
func to(device string) []expr.Any   { return through(expr.MetaKeyOIFNAME, expr.CmpOpEq, device) }
func notFrom(device string) []expr.Any {
	return through(expr.MetaKeyIIFNAME, expr.CmpOpNeq, device)
}
func notTo(device string) []expr.Any { return through(expr.MetaKeyOIFNAME, expr.CmpOpNeq, device) }

func through(key expr.MetaKey, op expr.CmpOp, device string) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, device)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Register: 1, Op: op, Data: name}}
}

// destinationTranslated is the kernel's IPS_DST_NAT: the connection's destination was translated.
const destinationTranslated = 1 << 5

func translated() []expr.Any { return conntrack(expr.CtKeySTATUS, destinationTranslated) }

func isNew() []expr.Any { return conntrack(expr.CtKeySTATE, expr.CtStateBitNEW) }

func conntrack(key expr.CtKey, bit uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: key, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bit), Xor: make([]byte, 4)},
		&expr.Cmp{Register: 1, Op: expr.CmpOpNeq, Data: make([]byte, 4)},
	}
}

func nat(typ expr.NATType, a netip.Addr) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: a.AsSlice()},
		&expr.NAT{Type: typ, Family: unix.NFPROTO_IPV4, RegAddrMin: 1},
	}
}

func drop() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}} }

// unreachable rejects with "network unreachable", so that nobody waits for a connection to the internet.
func unreachable() []expr.Any {
	return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: 0}}
}
