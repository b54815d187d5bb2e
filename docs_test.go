package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/config"
)

// tableOf returns the rows of the table below a header in a document, each as its cells.
func tableOf(t *testing.T, document, header string) [][]string {
	t.Helper()
	text, err := os.ReadFile(document)
	require.NoError(t, err)
	_, after, found := strings.Cut(string(text), "\n"+header+"\n")
	require.True(t, found, "%s has no table %q", document, header)
	_, after, _ = strings.Cut(after, "\n") // the line below the header
	table, _, _ := strings.Cut(after, "\n\n")
	var rows [][]string
	for line := range strings.SplitSeq(strings.TrimSpace(table), "\n") {
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		require.Len(t, cells, strings.Count(header, "|")-1, "%s: %s", document, line)
		rows = append(rows, cells)
	}
	return rows
}

// documentedNode is a row of the documents' table of nodes.
type documentedNode struct {
	Name, Role, Type, Zone string
	// Disk is the root volume in GiB.
	Disk  int
	Taint string
}

// documentedNodes returns the nodes that dev declares, in the order of the node table: what the documents must say.
func documentedNodes(t *testing.T) []documentedNode {
	t.Helper()
	g := mustRun(t, "dev")
	flags := regexp.MustCompile(`--labels \S*\brole=([a-z-]+)\S* --taints (\S+)`)
	var nodes []documentedNode
	for i, name := range nodeNames() {
		step := "member-" + name
		if i == 0 {
			step = "init-" + name
		}
		line := g.named(t, commandType, step).Inputs["create"].StringValue()
		found := flags.FindStringSubmatch(line)
		require.NotNil(t, found, line)
		taint := "none"
		if found[2] != "''" {
			taint = "`" + strings.TrimSuffix(found[2], ":NoSchedule") + "`"
		}
		instance := g.named(t, instanceType, name).Inputs
		zone := strings.TrimSuffix(instance["subnetId"].StringValue(), "-id")
		nodes = append(nodes, documentedNode{
			Name: name, Role: found[1], Type: instance["instanceType"].StringValue(), Zone: zone[len(zone)-1:],
			Disk: int(instance["rootBlockDevice"].ObjectValue()["volumeSize"].NumberValue()), Taint: taint,
		})
	}
	return nodes
}

func TestNodesAreDocumented(t *testing.T) {
	var want [][]string
	for _, n := range documentedNodes(t) {
		want = append(want, []string{"`" + n.Name + "`", n.Role, n.Type, n.Zone, strconv.Itoa(n.Disk), n.Taint})
	}
	assert.Equal(t, want, tableOf(t, "docs/architecture.md", "| Node | Role | Type | Zone | Disk | Taint |"))
}

// The page of settings has each key of Pulumi.yaml, with its type and default, and no other.
func TestConfigurationIsDocumented(t *testing.T) {
	var project struct {
		Config map[string]struct {
			Type, Description string
			Default           any
		}
	}
	readYAML(t, "Pulumi.yaml", &project)
	types := map[string]string{"string": "string", "boolean": "boolean", "array": "list", "object": "map"}
	type setting struct{ typ, fallback string }
	want, got := map[string]setting{}, map[string]setting{}
	for key, declared := range project.Config {
		if strings.Contains(key, ":") {
			continue // Pulumi's own
		}
		s := setting{typ: types[declared.Type]}
		secret := slices.Contains(secretKeys, "eco2:"+key)
		assert.Equal(t, secret, strings.Contains(declared.Description, "secret"), "the description of %s", key)
		if secret {
			s.typ += ", secret"
		}
		switch value := declared.Default.(type) {
		case string:
			s.fallback = value
		case bool:
			s.fallback = strconv.FormatBool(value)
		case []any:
			if len(value) > 0 {
				s.fallback = "[" + strings.Trim(strings.Join(strings.Fields(fmt.Sprint(value)), ", "), "[]") + "]"
			}
		case map[string]any:
			assert.Empty(t, value, "the default of %s has no form in the documents", key)
		default:
			assert.Fail(t, "unknown default", "%s: %v", key, value)
		}
		switch {
		case s.fallback != "":
			s.fallback = "`" + s.fallback + "`"
		case strings.Contains(declared.Description, "required"):
			s.fallback = "required"
		default:
			s.fallback = "none"
		}
		want[key] = s
	}
	require.Greater(t, len(want), 20)
	for _, row := range tableOf(t, "docs/configuration.md", "| Key | Type | Default | Meaning |") {
		key := strings.Trim(row[0], "`")
		assert.NotContains(t, got, key, "a key has one row")
		assert.NotEmpty(t, row[3], key)
		got[key] = setting{row[1], row[2]}
	}
	assert.Equal(t, want, got)
}

func TestReleasesAreDocumented(t *testing.T) {
	forEachStack(t, func(t *testing.T, g *graph) {
		var want, got [][]string
		for _, r := range g.every(t, releaseType) {
			want = append(want, []string{
				r.Inputs["name"].StringValue(), r.Inputs["version"].StringValue(), r.Inputs["namespace"].StringValue(),
			})
		}
		for _, row := range tableOf(t, "docs/architecture.md", "| Release | Chart | Namespace | Runs on |") {
			name, _, _ := strings.Cut(row[0], ",")
			got = append(got, []string{name, row[1], row[2]})
		}
		assert.ElementsMatch(t, want, got)
	})
}

func TestVersionsAreDocumented(t *testing.T) {
	got := map[string]string{}
	for _, row := range tableOf(t, "docs/architecture.md", "| | Default | Also known | Supported with |") {
		got[row[0]] = row[1]
	}
	assert.Equal(t, map[string]string{
		"Kubernetes": config.DefaultVersions.Kubernetes, "containerd": config.DefaultVersions.Containerd,
		"Calico": config.DefaultVersions.Calico, "Argo CD": config.DefaultVersions.ArgoCD,
	}, got)
}

// The costs in the README are those of the resources that the stacks declare, at the rehearsal's prices.
func TestCostsAreDocumented(t *testing.T) {
	var table struct {
		Date, Region  string
		HoursPerMonth float64 `yaml:"hoursPerMonth"`
		LeavesOut     string  `yaml:"leavesOut"`
		Prices        map[string]struct {
			Price float64
			Unit  string
		}
	}
	readYAML(t, "rehearsal/engine/cost/prices.yaml", &table)
	monthly := func(what string) float64 {
		require.Contains(t, table.Prices, what)
		if table.Prices[what].Unit == "hour" {
			return table.Prices[what].Price * table.HoursPerMonth
		}
		return table.Prices[what].Price
	}
	costs := map[string]map[string]float64{}
	machines, disks, cpus := map[string]int{}, 0.0, map[string]int{"small": 2, "medium": 2, "large": 2, "xlarge": 4}
	for _, stack := range stacks {
		g := mustRun(t, stack)
		cost := map[string]float64{}
		clear(machines)
		disks = 0
		for _, r := range g.every(t, instanceType) {
			kind := r.Inputs["instanceType"].StringValue()
			machines[kind]++
			disk := r.Inputs["rootBlockDevice"].ObjectValue()
			disks += disk["volumeSize"].NumberValue()
			cost["instances"] += monthly(kind)
			cost["disks of the machines"] += disk["volumeSize"].NumberValue() * monthly(disk["volumeType"].StringValue())
			cost["public IPv4 addresses"] += monthly("public IPv4 address")
		}
		for _, r := range g.every(t, "aws:ebs/volume:Volume") {
			cost["disks of the machines"] += r.Inputs["size"].NumberValue() * monthly(r.Inputs["type"].StringValue())
		}
		for _, r := range g.every(t, releaseType) {
			cost["volumes that charts claim"] += claimed(t, r.Inputs["values"], 1) * monthly("gp3")
		}
		require.NotEmpty(t, g.ofType("kubernetes:networking.k8s.io/v1:Ingress"))
		zones := len(g.every(t, "aws:ec2/subnet:Subnet"))
		cost["load balancers"] = monthly("Application Load Balancer")
		cost["public IPv4 addresses"] += float64(zones) * monthly("public IPv4 address")
		total := 0.0
		for _, part := range cost {
			total += part
		}
		cost["**total**"] = total
		costs[stack] = cost
	}

	for _, row := range tableOf(t, "README.md", "| | dev | prod |") {
		bold := ""
		if row[0] == "**total**" {
			bold = "**"
		}
		for i, stack := range stacks {
			part, known := costs[stack][row[0]]
			assert.True(t, known, "no cost is called %s", row[0])
			assert.Equal(t, fmt.Sprintf("%s%.2f%s", bold, part, bold), row[1+i], "%s of %s", row[0], stack)
			delete(costs[stack], row[0])
		}
	}
	assert.Empty(t, costs["dev"], "README.md leaves these out")
	assert.Empty(t, costs["prod"], "README.md leaves these out")
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	count := 0
	for kind, number := range machines {
		count += number * cpus[strings.TrimPrefix(kind, "t3.")]
	}
	for _, said := range []string{
		"prices of " + table.Region, "dated " + table.Date, fmt.Sprintf("%.0f hours a month", table.HoursPerMonth), "leaves out " + table.LeavesOut,
		fmt.Sprintf("%d t3.xlarge, %d t3.large, %d t3.medium and %d t3.small (%d vCPUs), with %.0f GiB of gp3",
			machines["t3.xlarge"], machines["t3.large"], machines["t3.medium"], machines["t3.small"], count, disks),
		fmt.Sprintf("Each stack has %d vCPUs", count),
	} {
		assert.Contains(t, string(readme), said)
	}
}

// claimed returns how many GiB of volumes a chart's values claim: a volumeClaimTemplate once for each replica, an enabled
// persistence once.
func claimed(t *testing.T, values resource.PropertyValue, replicas float64) (gib float64) {
	t.Helper()
	if !values.IsObject() {
		return 0
	}
	object := values.ObjectValue()
	if own := object["replicas"]; own.IsNumber() {
		replicas = own.NumberValue()
	}
	size := func(v resource.PropertyValue) float64 {
		number, err := strconv.Atoi(strings.TrimSuffix(v.StringValue(), "Gi"))
		require.NoError(t, err)
		return float64(number)
	}
	for key, value := range object {
		switch {
		case key == "volumeClaimTemplate":
			requests := value.ObjectValue()["spec"].ObjectValue()["resources"].ObjectValue()["requests"].ObjectValue()
			gib += replicas * size(requests["storage"])
		case key == "persistence" && value.ObjectValue()["enabled"].BoolValue():
			gib += size(value.ObjectValue()["size"])
		default:
			gib += claimed(t, value, replicas)
		}
	}
	return gib
}
