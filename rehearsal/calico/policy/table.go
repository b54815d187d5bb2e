package policy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"eco2/rehearsal/calico/sysctl"
)

// Table is the nftables table that is ours alone, of the family ip.
const Table = "network-policies"

// Registers of 4 bytes, side by side: sets of pairs look at both.
const (
	register     = unix.NFT_REG32_00
	nextRegister = unix.NFT_REG32_01
)

// side is where a header has the address of a pod or of its peer.
type side uint32

const (
	source      side = 12
	destination side = 16
)

// Program makes the rules those of the network namespace of the calling thread, in the place of those that
// were there. No packet finds neither.
//
//	forward: open connections pass; then egress of our pods, then ingress to our pods
//	input:   the node itself and open connections pass; then egress of our pods
//	egress:  goes to egress-N of the sender's guard, or drops
//	egress-N: returns what is open, drops the rest; ingress likewise
//
// Between pods of one node packets do not leave their bridge: br_netfilter shows them to nftables
// nevertheless.
func (r Ruleset) Program() error {
	if err := sysctl.Set("net/bridge/bridge-nf-call-iptables", "1"); err != nil {
		return err
	}
	conn, err := nftables.New(nftables.WithSockOptions(roomy))
	if err != nil {
		return fmt.Errorf("opening nftables: %w", err)
	}
	t := writer{conn: conn, sets: map[string]*nftables.Set{}}
	// Declared first, so that there is something to delete.
	conn.DelTable(conn.AddTable(&nftables.Table{Name: Table, Family: nftables.TableFamilyIPv4}))
	t.table = conn.AddTable(&nftables.Table{Name: Table, Family: nftables.TableFamilyIPv4})

	forward := t.hook("forward", nftables.ChainHookForward)
	input := t.hook("input", nftables.ChainHookInput)
	egress := t.chain("egress")
	ingress := t.chain("ingress")

	t.add(forward, established(), verdict(expr.VerdictAccept))
	t.add(forward, within(source, r.Pods), jump(expr.VerdictJump, egress))
	t.add(forward, within(destination, r.Pods), jump(expr.VerdictJump, ingress))
	// The node speaks to itself over the loopback device alone, also by its addresses in the pod network.
	t.add(input, loopback(), verdict(expr.VerdictAccept))
	t.add(input, established(), verdict(expr.VerdictAccept))
	t.add(input, within(source, r.Pods), jump(expr.VerdictJump, egress))
	t.guards(egress, r.Egress, source, destination)
	t.guards(ingress, r.Ingress, destination, source)
	if t.failed == nil {
		t.failed = conn.Flush()
	}
	if t.failed != nil {
		return fmt.Errorf("writing nftables table %s: %w", Table, t.failed)
	}
	return nil
}

// roomy makes room for a transaction, which the kernel takes at once, and for its answer to each part of it.
func roomy(conn *netlink.Conn) error {
	const size = 8 << 20 // no more than what is in it is used
	return errors.Join(conn.SetWriteBuffer(size), conn.SetReadBuffer(size))
}

// writer collects one transaction.
type writer struct {
	conn  *nftables.Conn
	table *nftables.Table
	// sets are those there are, by what is in them.
	sets   map[string]*nftables.Set
	failed error
}

func (t *writer) hook(name string, hook *nftables.ChainHook) *nftables.Chain {
	return t.conn.AddChain(&nftables.Chain{
		Name: name, Table: t.table, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: nftables.ChainPriorityFilter,
	})
}

func (t *writer) chain(name string) *nftables.Chain {
	return t.conn.AddChain(&nftables.Chain{Name: name, Table: t.table})
}

func (t *writer) add(chain *nftables.Chain, parts ...[]expr.Any) {
	t.addFor("", chain, parts...)
}

// addFor adds a rule that says which policy it is of.
func (t *writer) addFor(policy string, chain *nftables.Chain, parts ...[]expr.Any) {
	rule := &nftables.Rule{Table: t.table, Chain: chain}
	for _, part := range parts {
		rule.Exprs = append(rule.Exprs, part...)
	}
	if policy != "" {
		rule.UserData = userdata.AppendString(nil, userdata.TypeComment, policy)
	}
	t.conn.AddRule(rule)
}

// guards writes the chain of one direction, with a chain for each guard that closes it. They are gone to, not
// called: what returns from there returns to where the direction's chain was called.
func (t *writer) guards(direction *nftables.Chain, guards []Guard, own, peer side) {
	for i, g := range guards {
		pods := t.lookup(own, g.Pods)
		if !g.Isolated {
			t.add(direction, pods, verdict(expr.VerdictReturn))
			continue
		}
		chain := t.chain(fmt.Sprintf("%s-%d", direction.Name, i+1))
		t.add(direction, pods, jump(expr.VerdictGoto, chain))
		for _, o := range g.Open {
			t.addFor(o.Policy, chain, t.peer(peer, o.Peer), t.port(o.Port), verdict(expr.VerdictReturn))
		}
		t.add(chain, drop())
	}
	t.add(direction, drop())
}

func (t *writer) peer(at side, p Peer) (match []expr.Any) {
	switch {
	case len(p.Pods) > 0:
		return t.lookup(at, p.Pods)
	case p.Block.IsValid():
		match = within(at, p.Block)
		for _, except := range p.Except {
			match = append(match, compare(at, except, expr.CmpOpNeq)...)
		}
	}
	return match
}

func (t *writer) port(p Port) []expr.Any {
	if p.Protocol == 0 {
		return nil
	}
	match := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{p.Protocol}},
	}
	// TCP, UDP and SCTP have the port they go to at the same place.
	port := func(register uint32) expr.Any {
		return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
	}
	switch {
	case len(p.Named) > 0:
		match = append(match, address(destination), port(nextRegister),
			&expr.Lookup{SourceRegister: register, SetName: t.endpoints(p.Named).Name})
	case p.First != 0:
		match = append(match, port(register), &expr.Range{
			Op: expr.CmpOpEq, Register: register,
			FromData: binaryutil.BigEndian.PutUint16(p.First), ToData: binaryutil.BigEndian.PutUint16(p.Last),
		})
	}
	return match
}

func (t *writer) lookup(at side, addresses []netip.Addr) []expr.Any {
	set := nftables.Set{KeyType: nftables.TypeIPAddr}
	var elements []nftables.SetElement
	for _, a := range addresses {
		elements = append(elements, nftables.SetElement{Key: a.AsSlice()})
	}
	return []expr.Any{address(at), &expr.Lookup{SourceRegister: register, SetName: t.set("pods", set, elements).Name}}
}

// endpoints are addresses with a port of each.
func (t *writer) endpoints(all []netip.AddrPort) *nftables.Set {
	kind, err := nftables.ConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService)
	t.fail(err)
	var elements []nftables.SetElement
	for _, e := range all {
		key := append(e.Addr().AsSlice(), binaryutil.BigEndian.PutUint16(e.Port())...)
		elements = append(elements, nftables.SetElement{Key: append(key, 0, 0)}) // a register of 4 bytes each
	}
	return t.set("ports", nftables.Set{KeyType: kind, Concatenation: true}, elements)
}

// set declares one, if there is none with the same elements.
func (t *writer) set(what string, set nftables.Set, elements []nftables.SetElement) *nftables.Set {
	var content strings.Builder
	content.WriteString(what)
	for _, e := range elements {
		content.Write(e.Key)
	}
	if known := t.sets[content.String()]; known != nil {
		return known
	}
	set.Table, set.Name = t.table, fmt.Sprintf("%s-%d", what, len(t.sets)+1)
	t.fail(t.conn.AddSet(&set, elements))
	t.sets[content.String()] = &set
	return &set
}

func (t *writer) fail(err error) {
	if t.failed == nil {
		t.failed = err
	}
}

// address loads one of a packet's two.
func address(at side) expr.Any {
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: uint32(at), Len: net.IPv4len}
}

func within(at side, block netip.Prefix) []expr.Any { return compare(at, block, expr.CmpOpEq) }

func compare(at side, block netip.Prefix, op expr.CmpOp) []expr.Any {
	return []expr.Any{
		address(at),
		&expr.Bitwise{
			SourceRegister: register, DestRegister: register, Len: net.IPv4len,
			Mask: net.CIDRMask(block.Bits(), 8*net.IPv4len), Xor: make([]byte, net.IPv4len),
		},
		&expr.Cmp{Op: op, Register: register, Data: block.Masked().Addr().AsSlice()},
	}
}

// established matches packets of a connection that was let through, and errors about one.
func established() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: register},
		&expr.Bitwise{
			SourceRegister: register, DestRegister: register, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED), Xor: make([]byte, 4),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: make([]byte, 4)},
	}
}

func loopback() []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, "lo")
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: unix.NFT_REG_1}, // 16 bytes
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: name},
	}
}

func verdict(kind expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: kind}} }

func jump(kind expr.VerdictKind, to *nftables.Chain) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: kind, Chain: to.Name}}
}

// drop counts what it drops, for whoever wonders.
func drop() []expr.Any { return append([]expr.Any{&expr.Counter{}}, verdict(expr.VerdictDrop)...) }
