package aws

import (
	"eco2/rehearsal/internal/store"
)

// RouteTable is a route table of a VPC.
type RouteTable struct {
	ID, VPCID string
	// Main is true for the table of all subnets that are not associated with another.
	Main bool
	// Gateways maps each destination to its internet gateway.
	Gateways  map[string]string
	SubnetIDs []string
	Tags      map[string]string
}

// RouteTables lists the route tables of all VPCs, including the main ones that AWS creates with each VPC.
func (a *Account) RouteTables() (tables []RouteTable, err error) {
	err = a.store.View(func(t *store.Tx) error {
		all := Tx{Tx: t}
		err := store.Each(t, "vpc", func(id string, o Object) error {
			tables = append(tables, RouteTable{ID: o.Text("mainRouteTableId"), VPCID: id, Main: true})
			return nil
		})
		if err != nil {
			return err
		}
		return store.Each(t, "routeTable", func(id string, o Object) error {
			table := RouteTable{ID: id, VPCID: o.Text("vpcId"), Gateways: map[string]string{}, Tags: map[string]string{}}
			for key := range o.Object("tagsAll") {
				table.Tags[key] = o.Object("tagsAll").Text(key)
			}
			for _, r := range o.Objects("routes") {
				table.Gateways[r.Text("cidrBlock")] = r.Text("gatewayId")
			}
			routes, err := all.Where("route", "routeTableId", id)
			if err != nil {
				return err
			}
			for _, r := range routes {
				table.Gateways[r.Text("destinationCidrBlock")] = r.Text("gatewayId")
			}
			associations, err := all.Where("routeTableAssociation", "routeTableId", id)
			for _, association := range associations {
				table.SubnetIDs = append(table.SubnetIDs, association.Text("subnetId"))
			}
			tables = append(tables, table)
			return err
		})
	})
	return tables, err
}
