package simulated

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/internal/setup"
	"eco2/rehearsal/internal/store"
)

func TestAccount(t *testing.T) {
	dir := t.TempDir()
	_, authorized := newKey(t)
	require.NoError(t, store.Open(filepath.Join(dir, aws.StateFile)).Update(func(tx *store.Tx) error {
		for _, put := range []struct {
			kind, id string
			value    map[string]any
		}{
			{"vpc", "vpc-1", map[string]any{"id": "vpc-1"}},
			{"instance", "i-1", map[string]any{
				"id": "i-1", "instanceState": "running", "availabilityZone": "eu-central-1a", "_region": "eu-central-1", "_vpcId": "vpc-1",
				"_authorizedKey": authorized, "privateIp": "10.0.0.1", "vpcSecurityGroupIds": []string{"sg-1"}, "tagsAll": map[string]any{"Name": "master"},
			}},
			{"index.public", "203.0.113.1", map[string]any{"VPC": "vpc-1", "Instance": "i-1"}},
			{"index.private", "vpc-1 10.0.0.1", map[string]any{"VPC": "vpc-1", "Instance": "i-1"}},
			{"securityGroup", "sg-1", map[string]any{"id": "sg-1"}},
			{"securityGroupIngressRule", "sgr-1", map[string]any{
				"id": "sgr-1", "securityGroupId": "sg-1", "ipProtocol": "tcp", "fromPort": 22, "toPort": 22, "cidrIpv4": "100.64.0.0/24",
			}},
		} {
			if err := tx.Put(put.kind, put.id, put.value); err != nil {
				return err
			}
		}
		return nil
	}))
	cloud := OpenAccount(dir)
	want := Machine{
		ID: "i-1", Name: "master", Network: "vpc-1", PublicIP: "203.0.113.1", PrivateIP: "10.0.0.1", Zone: "eu-central-1a",
		Running: true, AuthorizedKey: authorized,
	}
	public, found, err := cloud.ByPublicIP("203.0.113.1")
	require.NoError(t, err)
	require.True(t, found)
	assert.Equal(t, want, public)

	private, found, err := cloud.ByPrivateIP("vpc-1", "10.0.0.1")
	require.NoError(t, err)
	require.True(t, found)
	assert.Equal(t, "i-1", private.ID)

	for name, find := range map[string]func() (Machine, bool, error){
		"a private address from outside": func() (Machine, bool, error) { return cloud.ByPublicIP("10.0.0.1") },
		"a name instead of an address":   func() (Machine, bool, error) { return cloud.ByPublicIP("master") },
		"another network":                func() (Machine, bool, error) { return cloud.ByPrivateIP("vpc-2", "10.0.0.1") },
		"another id":                     func() (Machine, bool, error) { return cloud.ByID("i-2") },
	} {
		_, found, err := find()
		require.NoError(t, err, name)
		assert.False(t, found, name)
	}
	for port, want := range map[int]bool{22: true, 6443: false} {
		allowed, err := cloud.Allows(public, port, setup.OperatorAddress)
		require.NoError(t, err)
		assert.Equal(t, want, allowed, port)
	}
}
