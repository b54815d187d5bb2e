package simulated

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/e2e/world"
	"eco2/rehearsal/engine/stack"
)

// A stack with dev's settings from its first update to its destroy. TestDayTwo tests what lies between.
func TestDev(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "dev", "")
	withCheckpoints(w)
	printed := w.Must(w.Up())
	w.Changes()
	counts := w.Inventory().Counts()

	t.Run("the account has what the program declares", func(t *testing.T) {
		assert.Equal(t, 14, counts["instance"])
		assert.Equal(t, 1, counts["securityGroup"])
		assert.Equal(t, 1, counts["eip"])
		assert.Equal(t, 10, counts["parameter"])
	})

	t.Run("no secret is printed", func(t *testing.T) {
		shown := w.Must(w.Pulumi("stack", "output", "--json"))
		assert.Contains(t, shown, `"kubeconfig": "[secret]"`)
		secret := w.Must(w.Pulumi("config", "get", "eco2:redisPassword"))
		for _, text := range []string{printed, shown} {
			assert.NotContains(t, text, strings.TrimSpace(secret))
			assert.NotContains(t, text, "PRIVATE KEY")
			assert.NotContains(t, text, "client-key-data")
		}
	})

	t.Run("what a script says is shown while it runs, and not again at the end", func(t *testing.T) {
		assert.Contains(t, printed, "all 14 nodes are ready")
		assert.NotContains(t, printed, "command:remote:Command (")
	})

	t.Run("up again changes nothing", func(t *testing.T) {
		assert.Empty(t, w.Steps())
		assert.Contains(t, w.Must(w.Up()), "196 unchanged")
		assert.Empty(t, w.Changes())
	})

	var done []string
	t.Run("a leftover load balancer blocks the destroy, which soon fails and names it", func(t *testing.T) {
		account := aws.Open(w.Dir)
		vpcs, err := account.VPCs()
		require.NoError(t, err)
		require.Len(t, vpcs, 1)
		subnets, err := account.Subnets()
		require.NoError(t, err)
		certificates, err := account.Certificates()
		require.NoError(t, err)
		require.Len(t, certificates, 1)
		left := aws.LoadBalancer{
			ARN:  "arn:aws:elasticloadbalancing:ap-northeast-2:123456789012:loadbalancer/app/k8s-forgotten/0123456789abcdef",
			Name: "k8s-forgotten", VPCID: vpcs[0].ID, SubnetIDs: []string{subnets[0].ID, subnets[1].ID},
			Listeners: []aws.Listener{{CertificateARNs: []string{certificates[0].ARN}}},
		}
		require.NoError(t, account.PutLoadBalancer(left))
		w.Changes()
		printed, err := w.Destroy()
		require.Error(t, err)
		assert.Contains(t, printed, "DependencyViolation")
		assert.Contains(t, printed, "k8s-forgotten")
		assert.NotContains(t, printed, "ResourceInUseException", "the provider waits for the certificate for 20 minutes")
		done = w.Changes()
		assert.NotContains(t, done, "Delete aws:acm/certificate:Certificate domain")
		require.NoError(t, account.DeleteLoadBalancer(left.ARN, time.Now()))
	})

	t.Run("destroy leaves nothing, and runs only the sweeps in the cluster", func(t *testing.T) {
		w.Must(w.Destroy())
		// Including what the blocked destroy above has done already.
		assert.Equal(t, sweeps, world.InCluster(append(done, w.Changes()...)))
		assert.Empty(t, w.Inventory())
	})
}

// The life of a stack with prod's settings: it is refused with wrong settings, comes up, is protected and is destroyed.
func TestProd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "prod", "")

	t.Run("wrong settings change nothing", func(t *testing.T) {
		w.Options.Config["adminCidrs"] = []any{"0.0.0.0/0"}
		w.Options.Config["zones"] = []any{"ap-northeast-2a"}
		printed, err := w.Up()
		require.Error(t, err)
		assert.Contains(t, printed, "the configuration of stack prod has 2 problem(s):")
		assert.Contains(t, printed, "eco2:zones: has 1 zone(s)")
		assert.Contains(t, printed, "eco2:adminCidrs: 0.0.0.0/0 exposes SSH and the Kubernetes API to the whole internet, which is not allowed in prod")
		assert.Empty(t, w.Inventory())
		assert.Empty(t, w.Changes())
	})

	t.Run("with correct settings the next run succeeds without any repair", func(t *testing.T) {
		w.Options.Config = map[string]any{}
		w.Must(w.Up())
		assert.Empty(t, w.Steps())
		subnets, err := aws.Open(w.Dir).Subnets()
		require.NoError(t, err)
		require.Len(t, subnets, 3)
		for _, subnet := range subnets {
			assert.True(t, strings.HasPrefix(subnet.CIDR, "10.1."), subnet.CIDR)
		}
	})

	t.Run("a protected stack cannot be destroyed", func(t *testing.T) {
		before := w.Inventory()
		w.Changes()
		printed, err := w.Destroy()
		require.Error(t, err)
		assert.Contains(t, printed, "protected")
		assert.Empty(t, w.Changes(), "the refusal comes before the first delete")
		assert.Equal(t, before, w.Inventory())
	})

	t.Run("without protection it can be destroyed", func(t *testing.T) {
		w.Options.Config["protect"] = false
		w.Must(w.Up())
		w.Changes()
		w.Must(w.Destroy())
		assert.Equal(t, sweeps, world.InCluster(w.Changes()))
		assert.Empty(t, w.Inventory())
	})
}

// A preview with prod's settings, of a stack that was brought up with dev's, shows only real differences.
func TestPreviewOfProdOnDevsState(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "prod", "dev")
	// Another network would replace everything, so this test uses prod's network for both.
	w.Options.Config["vpcCidr"] = "10.1.0.0/16"
	w.Options.Config["gitops"] = map[string]any{"repository": "https://git.example/workloads.git", "revision": "main", "path": "apps"}
	w.Must(w.Up())
	assert.Empty(t, w.Steps())

	w.Options.SettingsOf = ""
	assert.Equal(t, []string{
		"create aws:dlm/lifecyclePolicy:LifecyclePolicy backup",
		"create aws:iam/role:Role backup",
		"create aws:iam/rolePolicy:RolePolicy backup-snapshots",
		"create eco2:infra:Backup backup",
		"create kubernetes:argoproj.io/v1alpha1:AppProject project-prod", // named after the environment
		"delete kubernetes:argoproj.io/v1alpha1:AppProject project-dev",
		"replace aws:acm/certificate:Certificate domain", // another domain
		"replace aws:acm/certificateValidation:CertificateValidation domain",
		"replace aws:route53/record:Record domain",
		"update aws:iam/rolePolicy:RolePolicy control-plane-dns", // another domain
		"update aws:ssm/parameter:Parameter ingress-acm-certificate-arn",
		"update command:remote:Command argocd",                              // its URL
		"update command:remote:Command dns-records",                         // another domain
		"update kubernetes:helm.sh/v3:Release aws-load-balancer-controller", // two replicas
		"update kubernetes:helm.sh/v3:Release external-dns",                 // another domain
		"update kubernetes:helm.sh/v3:Release kube-prometheus-stack",        // volumes, retention
		"update kubernetes:networking.k8s.io/v1:Ingress argocd",
		"update kubernetes:networking.k8s.io/v1:Ingress web",
	}, w.Steps())
}

// Two stacks can share an account: none of their names collide.
func TestDevAndProdShareAnAccount(t *testing.T) {
	t.Parallel()
	dev := newWorld(t, "dev", "")
	dev.Must(dev.Up())
	prod := *dev
	prod.Name = "prod"
	prod.Options.Config = map[string]any{}
	prod.Must(prod.Up())
	assert.Equal(t, 28, dev.Inventory().Counts()["instance"])
	dev.Must(dev.Destroy())
	assert.Equal(t, 14, dev.Inventory().Counts()["instance"])
	assert.Empty(t, prod.Steps())
}

// After an update that failed because of a wrong SSH user, the next one continues with the same machines.
func TestAWrongSSHUserIsReportedAndCanBeCorrected(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "dev", "")
	w.Options.Config["sshUser"] = "root" // Ubuntu's images permit no login as root
	printed, err := w.Up()
	require.Error(t, err)
	assert.Contains(t, printed, "unable to authenticate")
	assert.Contains(t, printed, "command:remote:Command (scripts)")
	assert.NotContains(t, printed, "PRIVATE KEY")
	instances := w.Inventory().Counts()["instance"]
	delete(w.Options.Config, "sshUser")
	w.Must(w.Up())
	assert.Equal(t, 14, instances, "the next run uses the machines of the failed one")
	assert.Equal(t, 14, w.Inventory().Counts()["instance"])
	assert.Empty(t, w.Steps())
}

// A secret setting is masked in every output.
func TestAConfiguredSecretIsMasked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "dev", "")
	const password = "correct horse battery staple"
	w.Options.Config["postgresPassword"] = stack.Secret(password)
	for _, args := range [][]string{
		{"preview", "--diff"}, {"preview", "--json"}, {"up", "--yes", "--diff"}, {"stack", "export"},
	} {
		assert.NotContains(t, w.Must(w.Pulumi(args...)), password, args)
	}
}
