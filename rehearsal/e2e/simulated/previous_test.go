package simulated

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/e2e/world"
	"eco2/rehearsal/engine/stack"
)

// A setting that an existing cluster cannot change is refused by previews and updates before anything happens. With the
// old setting, nothing changes.
func TestALivingClusterKeepsItsRegionNetworksAndName(t *testing.T) {
	t.Parallel()
	w := newWorldUp(t)
	w.Changes()
	before := w.Inventory()
	refused := func(t *testing.T, w *world.World, want ...string) {
		t.Helper()
		for _, command := range []string{"preview", "up"} {
			args := []string{command}
			if command == "up" {
				args = append(args, "--yes", "--skip-preview")
			}
			printed, err := w.Pulumi(args...)
			require.Error(t, err, printed)
			for _, text := range want {
				assert.Contains(t, printed, text)
			}
			assert.Contains(t, printed, `see "Another region, network or name" in docs/operations.md`)
		}
		assert.Empty(t, w.Changes())
		assert.Equal(t, before, w.Inventory())
	}

	for _, test := range []struct {
		key    string
		change map[string]any
		was    string
	}{
		{"region", map[string]any{"region": "eu-central-1", "zones": []any{"eu-central-1a", "eu-central-1b", "eu-central-1c"}}, "ap-northeast-2"},
		{"vpcCidr", map[string]any{"vpcCidr": "10.7.0.0/16"}, "10.0.0.0/16"},
		{"podCidr", map[string]any{"podCidr": "192.168.0.0/17"}, "192.168.0.0/16"},
		{"serviceCidr", map[string]any{"serviceCidr": "10.112.0.0/12"}, "10.96.0.0/12"},
	} {
		t.Run(test.key, func(t *testing.T) {
			kept := w.Options.Config
			w.Options.Config = test.change
			refused(t, w, "eco2:"+test.key+": the cluster was created with "+test.was, "pulumi config set eco2:"+test.key+" "+test.was)
			w.Options.Config = kept
			assert.Empty(t, w.Steps())
		})
	}

	t.Run("a renamed stack", func(t *testing.T) {
		w.Must(w.Pulumi("stack", "rename", "test"))
		renamed := *w
		renamed.Name, renamed.Options.SettingsOf = "test", "dev"
		refused(t, &renamed, `stack name: the cluster was created as "eco2-dev" and would be replaced by "eco2-test"`)
		renamed.Must(renamed.Pulumi("stack", "rename", "dev"))
		assert.Empty(t, w.Steps())
	})

	t.Run("the state has no reference to itself, and the output shows no secret", func(t *testing.T) {
		resources, err := w.Open().Resources(t.Context())
		require.NoError(t, err)
		for _, r := range resources {
			assert.NotEqual(t, "pulumi:pulumi:StackReference", r.Type)
		}
		output := w.Must(w.Pulumi("stack", "output", "made"))
		assert.Contains(t, output, `"region":"ap-northeast-2"`)
		assert.Contains(t, output, `"k8s-redis":"ap-northeast-2b"`)
		state, err := os.ReadFile(w.Open().CheckpointFile())
		require.NoError(t, err)
		assert.NotContains(t, string(state), "client-key-data")
	})

	t.Run("a preview of another stack on a copy of its state is not refused", func(t *testing.T) {
		prod, err := stack.OpenWithStateOf(t.Context(), "prod", "dev", w.Tools, stack.Options{Repo: w.Options.Repo, StateDir: w.Dir}, t.TempDir())
		require.NoError(t, err)
		printed, err := prod.Output(t.Context(), prod.Operation("preview", "--diff")...)
		require.NoError(t, err, printed)
		assert.Contains(t, printed, `"10.0.0.0/16" => "10.1.0.0/16"`)
	})

	t.Run("after a destroy the settings can be changed", func(t *testing.T) {
		w.Must(w.Destroy())
		w.Options.Config = map[string]any{"vpcCidr": "10.7.0.0/16"}
		w.Must(w.Up())
		assert.Empty(t, w.Steps())
		assert.Equal(t, 14, w.Inventory().Counts()["instance"])
	})
}

// Zones are added and removed: no machine moves without need, subnets keep their networks, and the load balancer leaves
// a removed zone.
func TestZonesComeAndGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "dev", "")
	account := aws.Open(w.Dir)
	region := func(letters string) (zones []any) {
		for _, letter := range letters {
			zones = append(zones, "ap-northeast-2"+string(letter))
		}
		return zones
	}
	// look returns each machine's id and zone, by its name.
	look := func(t *testing.T) map[string]string {
		t.Helper()
		machines, err := account.Instances()
		require.NoError(t, err)
		all := map[string]string{}
		for _, machine := range machines {
			all[machine.Name()] = machine.ID + " " + machine.AvailabilityZone
		}
		return all
	}
	moved := func(before, after map[string]string) (names []string) {
		for name, is := range after {
			if before[name] != is {
				names = append(names, strings.TrimPrefix(name, "eco2-dev-"))
			}
		}
		return names
	}
	balanced := func(t *testing.T, letters string) {
		t.Helper()
		w.Inventory() // runs the controllers
		subnets, err := account.Subnets()
		require.NoError(t, err)
		networks := map[string]string{"a": "10.0.0.0/20", "b": "10.0.16.0/20", "c": "10.0.32.0/20", "d": "10.0.48.0/20"}
		var ids []string
		for _, subnet := range subnets {
			letter := strings.TrimPrefix(subnet.AvailabilityZone, "ap-northeast-2")
			assert.Contains(t, letters, letter)
			assert.Equal(t, networks[letter], subnet.CIDR)
			ids = append(ids, subnet.ID)
		}
		assert.Len(t, ids, len(letters))
		balancers, err := account.LoadBalancers()
		require.NoError(t, err)
		require.Len(t, balancers, 1)
		assert.ElementsMatch(t, ids, balancers[0].SubnetIDs)
	}
	change := func(t *testing.T, letters string, want ...string) {
		t.Helper()
		before := look(t)
		w.Options.Config["zones"] = region(letters)
		w.Must(w.Up())
		assert.ElementsMatch(t, want, moved(before, look(t)))
		balanced(t, letters)
		assert.Empty(t, w.Steps())
	}

	w.Must(w.Up())
	balanced(t, "abc")
	const inC = "k8s-api-info k8s-api-scan k8s-worker-storage"
	for _, step := range []struct{ what, zones, moved string }{
		{"adding a zone moves nothing", "abcd", ""},
		{"removing it again moves nothing", "abc", ""},
		{"removing the last zone moves its machines", "ab", inC},
		{"adding it again moves nothing back", "abc", ""},
	} {
		t.Run(step.what, func(t *testing.T) { change(t, step.zones, strings.Fields(step.moved)...) })
	}
}

// One zone is exchanged for another: its machines move there, and no other subnet ever gets its subnet's network.
func TestAZoneIsExchanged(t *testing.T) {
	t.Parallel()
	w := newWorldUp(t)
	w.Inventory() // runs the controllers, which create the load balancer
	w.Options.Config["zones"] = []any{"ap-northeast-2a", "ap-northeast-2b", "ap-northeast-2d"}
	w.Must(w.Up())
	assert.Empty(t, w.Steps())
	machines, err := aws.Open(w.Dir).Instances()
	require.NoError(t, err)
	zones := map[string]int{}
	for _, machine := range machines {
		zones[machine.AvailabilityZone]++
	}
	assert.Equal(t, map[string]int{"ap-northeast-2a": 6, "ap-northeast-2b": 5, "ap-northeast-2d": 3}, zones)
}
