package aws

import "eco2/rehearsal/internal/store"

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
		all := tx{Tx: t}
		err := store.Each(t, "vpc", func(id string, o object) error {
			tables = append(tables, RouteTable{ID: o.text("mainRouteTableId"), VPCID: id, Main: true})
			return nil
		})
		if err != nil {
			return err
		}
		return store.Each(t, "routeTable", func(id string, o object) error {
			table := RouteTable{ID: id, VPCID: o.text("vpcId"), Gateways: map[string]string{}, Tags: map[string]string{}}
			for key := range o.object("tagsAll") {
				table.Tags[key] = o.object("tagsAll").text(key)
			}
			for _, r := range o.objects("routes") {
				table.Gateways[r.text("cidrBlock")] = r.text("gatewayId")
			}
			routes, err := all.where("route", "routeTableId", id)
			if err != nil {
				return err
			}
			for _, r := range routes {
				table.Gateways[r.text("destinationCidrBlock")] = r.text("gatewayId")
			}
			associations, err := all.where("routeTableAssociation", "routeTableId", id)
			for _, association := range associations {
				table.SubnetIDs = append(table.SubnetIDs, association.text("subnetId"))
			}
			tables = append(tables, table)
			return err
		})
	})
	return tables, err
}
