package vxlan

import (
	"fmt"
	"net"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// table is the nftables table that is ours alone. kube-proxy has others, in either of its modes; where
// both would translate a connection, the first decides and the other is not asked.
const table = "calico"

// masquerade gives what pods send out of the pool the node's own address, since nobody outside knows
// theirs. The table is written anew in one transaction; connections that are translated stay so.
func (d DataPlane) masquerade() error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("opening nftables: %w", err)
	}
	ours := conn.AddTable(&nftables.Table{Name: table, Family: nftables.TableFamilyIPv4})
	chain := conn.AddChain(&nftables.Chain{
		Name: "nat-outgoing", Table: ours, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	conn.FlushChain(chain)
	const sourceOffset, destinationOffset = 12, 16 // of the addresses in an IPv4 header
	var rule []expr.Any
	rule = append(rule, d.matchPool(sourceOffset, expr.CmpOpEq)...)
	rule = append(rule, d.matchPool(destinationOffset, expr.CmpOpNeq)...)
	// A random port: two nodes' pods that ask one server from the same port do not collide.
	rule = append(rule, &expr.Counter{}, &expr.Masq{FullyRandom: true})
	conn.AddRule(&nftables.Rule{Table: ours, Chain: chain, Exprs: rule})
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("writing nftables table %s: %w", table, err)
	}
	return nil
}

// matchPool compares an address of the packet with the pool.
func (d DataPlane) matchPool(offset uint32, op expr.CmpOp) []expr.Any {
	const register, size = 1, net.IPv4len
	network := d.Pool.Masked().Addr().As4()
	return []expr.Any{
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
		&expr.Bitwise{
			SourceRegister: register, DestRegister: register, Len: size,
			Mask: net.CIDRMask(d.Pool.Bits(), 8*size), Xor: make([]byte, size),
		},
		&expr.Cmp{Op: op, Register: register, Data: network[:]},
	}
}
