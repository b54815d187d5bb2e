package api_test

import (
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/internal/setup"
)

// names returns a client of AWS's SDK for Route 53, as in external-dns, and a world with a zone and a load balancer.
func names(t *testing.T) (*world, *route53.Client) {
	w := newWorld(t)
	w.Create("aws:acm/certificate:Certificate", "certificate", props{"domainName": domain, "validationMethod": "DNS"})
	require.NoError(t, w.Account.PutLoadBalancer(aws.LoadBalancer{ARN: "arn:lb", Name: "k8s", DNSName: "k8s." + region + ".elb.amazonaws.com", VPCID: w.VPC}))
	return w, route53.New(route53.Options{
		Region: "us-east-1", BaseEndpoint: sdk.String(w.Server), Credentials: ec2rolecreds.New(), Retryer: sdk.NopRetryer{},
	})
}

func text(name string, values ...string) *types.ResourceRecordSet {
	set := &types.ResourceRecordSet{Name: sdk.String(name), Type: types.RRTypeTxt, TTL: sdk.Int64(300)}
	for _, v := range values {
		set.ResourceRecords = append(set.ResourceRecords, types.ResourceRecord{Value: sdk.String(v)})
	}
	return set
}

func alias(name, target string) *types.ResourceRecordSet {
	return &types.ResourceRecordSet{Name: sdk.String(name), Type: types.RRTypeA, AliasTarget: &types.AliasTarget{
		HostedZoneId: sdk.String("ZWKZPGTI48KDX"), DNSName: sdk.String(target), EvaluateTargetHealth: true,
	}}
}

func TestRecords(t *testing.T) {
	w, c := names(t)
	zones, err := c.ListHostedZones(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, zones.HostedZones, 2)
	assert.Equal(t, "/hostedzone/"+aws.ForeignZone, *zones.HostedZones[1].Id)
	assert.Equal(t, "/hostedzone/"+setup.HostedZone, *zones.HostedZones[0].Id)
	assert.Equal(t, zone+".", *zones.HostedZones[0].Name)
	assert.False(t, zones.HostedZones[0].Config.PrivateZone)

	w.Create("aws:route53/record:Record", "validation", props{"zoneId": setup.HostedZone, "name": "_1." + domain, "type": "CNAME", "ttl": 60, "records": []any{"_2.acm-validations.aws."}})
	const owner = `"heritage=external-dns,external-dns/owner=eco2-dev,external-dns/resource=ingress/argocd/argocd"`
	const balancer = "k8s." + region + ".elb.amazonaws.com"
	change := func(id string, changes ...types.Change) error {
		_, err := c.ChangeResourceRecordSets(t.Context(), &route53.ChangeResourceRecordSetsInput{
			HostedZoneId: sdk.String(id), ChangeBatch: &types.ChangeBatch{Changes: changes},
		})
		return err
	}
	list := func() (names []string, sets map[string]types.ResourceRecordSet) {
		sets = map[string]types.ResourceRecordSet{}
		pages := route53.NewListResourceRecordSetsPaginator(c, &route53.ListResourceRecordSetsInput{HostedZoneId: sdk.String("/hostedzone/" + setup.HostedZone), MaxItems: sdk.Int32(300)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			require.NoError(t, err)
			for _, set := range page.ResourceRecordSets {
				name := *set.Name + " " + string(set.Type)
				names, sets[name] = append(names, name), set
			}
		}
		return names, sets
	}
	created := []types.Change{
		{Action: types.ChangeActionCreate, ResourceRecordSet: alias("argocd."+domain, balancer)},
		{Action: types.ChangeActionCreate, ResourceRecordSet: text("edns-a.argocd."+domain, owner)},
		{Action: types.ChangeActionUpsert, ResourceRecordSet: text("*."+domain, `"one"`, `"two"`)},
	}
	require.NoError(t, change(setup.HostedZone, created...))
	found, sets := list()
	assert.Equal(t, []string{
		zone + ". NS", zone + ". SOA", `\052.` + domain + ". TXT", "_1." + domain + ". CNAME",
		"argocd." + domain + ". A", "edns-a.argocd." + domain + ". TXT",
	}, found)
	assert.Equal(t, &types.AliasTarget{HostedZoneId: sdk.String("ZWKZPGTI48KDX"), DNSName: sdk.String(balancer + "."), EvaluateTargetHealth: true}, sets["argocd."+domain+". A"].AliasTarget)
	assert.Equal(t, text("edns-a.argocd."+domain+".", owner).ResourceRecords, sets["edns-a.argocd."+domain+". TXT"].ResourceRecords)
	assert.Len(t, sets[`\052.`+domain+". TXT"].ResourceRecords, 2)
	made, err := w.Account.Records()
	require.NoError(t, err)
	require.Len(t, made, 3, "records of the program are not listed")
	assert.Equal(t, "eco2-dev-node", made[0].Owner)

	for name, test := range map[string]struct {
		message string
		changes []types.Change
	}{
		"create an existing record": {"[Tried to create resource record set [name='argocd." + domain + ".', type='A'] but it already exists]", created[:1]},
		"delete a missing record": {"[Tried to delete resource record set [name='x." + domain + ".', type='TXT'] but it was not found]",
			[]types.Change{{Action: types.ChangeActionDelete, ResourceRecordSet: text("x."+domain, `"x"`)}}},
		"delete with other values": {"[Tried to delete resource record set [name='\\052." + domain + ".', type='TXT'] but the values provided do not match the current values]",
			[]types.Change{{Action: types.ChangeActionDelete, ResourceRecordSet: text("*."+domain, `"one"`)}}},
		"an alias of a missing target": {"[Tried to create an alias that targets gone." + region + ".elb.amazonaws.com., type A in zone ZWKZPGTI48KDX, but that target was not found]",
			[]types.Change{{Action: types.ChangeActionUpsert, ResourceRecordSet: alias("argocd."+domain, "gone."+region+".elb.amazonaws.com")}}},
		"a CNAME beside an alias": {"[RRSet of type CNAME with DNS name argocd." + domain + ". is not permitted as it conflicts with other records with the same DNS name in zone " + zone + ".]",
			[]types.Change{{Action: types.ChangeActionCreate, ResourceRecordSet: &types.ResourceRecordSet{Name: sdk.String("argocd." + domain), Type: types.RRTypeCname,
				TTL: sdk.Int64(1), ResourceRecords: []types.ResourceRecord{{Value: sdk.String("x.")}}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			// A valid change in the same batch is not applied either.
			good := types.Change{Action: types.ChangeActionCreate, ResourceRecordSet: text("good."+domain, `"good"`)}
			err := change(setup.HostedZone, append([]types.Change{good}, test.changes...)...)
			assert.Equal(t, "InvalidChangeBatch", refused(t, err))
			assert.Contains(t, err.Error(), test.message)
			now, _ := list()
			assert.Equal(t, found, now)
		})
	}

	err = change("Z0OTHER", created[2])
	assert.Equal(t, "AccessDenied", refused(t, err))
	assert.ErrorContains(t, err, "is not authorized to perform: route53:ChangeResourceRecordSets on resource: arn:aws:route53:::hostedzone/Z0OTHER")
	elsewhere := types.Change{Action: types.ChangeActionCreate, ResourceRecordSet: alias("argocd.example.org", balancer)}
	assert.Equal(t, "AccessDenied", refused(t, change(setup.HostedZone, elsewhere)))
	w.Create("aws:iam/rolePolicy:RolePolicy", "records", props{"name": "records", "role": w.Role,
		"policy": `{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "route53:*", "Resource": "*"}}`})
	assert.ErrorContains(t, change(setup.HostedZone, elsewhere), "[RRSet with DNS name argocd.example.org. is not permitted in zone "+zone+".]")

	tags, err := c.ListTagsForResources(t.Context(), &route53.ListTagsForResourcesInput{ResourceType: types.TagResourceTypeHostedzone, ResourceIds: []string{setup.HostedZone}})
	require.NoError(t, err)
	require.Len(t, tags.ResourceTagSets, 1)
	assert.Equal(t, setup.HostedZone, *tags.ResourceTagSets[0].ResourceId)

	for i := range created {
		created[i].Action = types.ChangeActionDelete
	}
	require.NoError(t, change(setup.HostedZone, created...))
	made, err = w.Account.Records()
	require.NoError(t, err)
	assert.Empty(t, made)
	found, _ = list()
	assert.Len(t, found, 3, "the zone's own records and the program's stay")
}
