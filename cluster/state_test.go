package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	stateDevice = "dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0a1"
	completed   = "etc/kubernetes/pki/.initialized"
)

// newHostOfVolume returns a host with stand-ins for what reads and mounts disks. A device is a file whose content is what
// blkid prints; an empty one is a new disk. A bind mount is a symbolic link.
func newHostOfVolume(t *testing.T) testHost {
	t.Helper()
	c := newTestHost(t)
	c.command("blkid", `cat "${!#}"; [[ -s ${!#} ]] || exit 2`)
	c.command("mkfs.ext4", `echo "mkfs $*" | sed "s|`+c.dir+`/||" >>"`+c.dir+`/disks"
printf 'LABEL=eco2-state\nTYPE=ext4\n' >"${!#}"`)
	c.command("mountpoint", `[[ -e "`+c.dir+`/mounted" ]]`)
	c.command("mount", `[[ $1 != --bind ]] || { rm -rf "$3"; ln -s "$2" "$3"; exit; }
touch "`+c.dir+`/mounted"`)
	c.command("sync", "")
	c.command("crictl", `[[ $1 != pods ]] || { echo "${3#*=component=}-1"; exit; }
echo "crictl $*" >>"`+c.dir+`/calls"`)
	// The unit runs the script that install.sh has installed.
	c.command("systemctl", `echo "systemctl $*" >>"`+c.dir+`/calls"
[[ $* != "start eco2-state" ]] || exec bash "`+c.dir+`/mount.sh" --volume vol-0a1`)
	mount, err := scriptText("mount")
	require.NoError(t, err)
	c.write("mount.sh", c.local(mount))
	return c
}

func (c testHost) state() (printed string, err error) {
	c.Helper()
	return c.try("state", "", "--cluster", "eco2-dev", "--volume", "vol-0a1")
}

func TestANewVolumeIsFormattedOnce(t *testing.T) {
	c := newHostOfVolume(t)
	c.write(stateDevice, "")
	for range 2 {
		printed, err := c.state()
		require.NoError(t, err, printed)
		assert.Equal(t, "mkfs -q -L eco2-state "+stateDevice+"\n", c.read("disks"))
	}
	assert.Equal(t, "eco2-dev\n", c.read("var/lib/eco2/cluster"))
	for name, path := range map[string]string{"etcd": "var/lib/etcd", "pki": "etc/kubernetes/pki", "nodes": "nodes"} {
		target, err := os.Readlink(filepath.Join(c.dir, path))
		require.NoError(t, err)
		assert.Equal(t, filepath.Join(c.dir, "var/lib/eco2", name), target)
		info, err := os.Stat(target)
		require.NoError(t, err)
		assert.Equal(t, os.ModeDir|0o700, info.Mode(), "others could read what is in %s", name)
	}
	assert.Contains(t, c.read("etc/systemd/system/eco2-state.service"), "mount.sh --volume vol-0a1\n")
	assert.Contains(t, c.read("etc/systemd/system/kubelet.service.d/30-eco2-state.conf"), "Requires=eco2-state.service\n",
		"the kubelet would start a control plane on an empty directory")
}

// A volume that was made from a snapshot is noticed, once: etcd's data has gone back in time.
func TestAVolumeFromASnapshotIsNoticed(t *testing.T) {
	for name, test := range map[string]struct {
		volume, data string // the volume that the file system was on, and etcd's data
		restored     string
	}{
		"another volume":               {"vol-0a0\n", "data", "vol-0a0\n"},
		"the same volume":              {"vol-0a1\n", "data", ""},
		"one of an earlier version":    {"", "data", ""},
		"another, without etcd's data": {"vol-0a0\n", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := newHostOfVolume(t)
			c.write(stateDevice, "LABEL=eco2-state\nTYPE=ext4\n")
			c.write("var/lib/eco2/cluster", "eco2-dev\n")
			if test.volume != "" {
				c.write("var/lib/eco2/volume", test.volume)
			}
			if test.data != "" {
				c.write("var/lib/eco2/etcd/member/db", test.data)
			}
			for range 2 {
				printed, err := c.state()
				require.NoError(t, err, printed)
				assert.Equal(t, test.restored, c.read("var/lib/eco2/restored"))
				assert.Equal(t, "vol-0a1\n", c.read("var/lib/eco2/volume"))
			}
		})
	}
}

func TestVolumesOfOthersAreRefused(t *testing.T) {
	const ours = "LABEL=eco2-state\nTYPE=ext4\n"
	for name, test := range map[string]struct {
		device, cluster string
		exists          []string
		says            string
	}{
		"a file system":       {device: "LABEL=data\nTYPE=ext4\n", says: "the volume vol-0a1 has something else on it than the state of a cluster, and nothing on it was changed: LABEL=data, TYPE=ext4"},
		"partitions":          {device: "PTTYPE=gpt\n", says: "PTTYPE=gpt"},
		"another cluster":     {device: ours, cluster: "eco2-prod", says: "the volume vol-0a1 has the state of the cluster eco2-prod, and this is eco2-dev"},
		"two control planes":  {device: ours, cluster: "eco2-dev", exists: []string{"var/lib/eco2/pki/.initialized", completed}, says: "this machine's own disk has another one"},
		"the wrong one moved": {device: ours, cluster: "eco2-prod", exists: []string{completed}, says: "the state of the cluster eco2-prod"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newHostOfVolume(t)
			c.write(stateDevice, test.device)
			if test.cluster != "" {
				c.write("var/lib/eco2/cluster", test.cluster+"\n")
			}
			for _, file := range test.exists {
				c.write(file, "mine")
			}
			printed, err := c.state()
			require.Error(t, err)
			assert.Contains(t, printed, test.says)
			assert.Empty(t, c.read("disks"))
			assert.NotContains(t, c.read("calls"), "stop")
			for _, file := range test.exists {
				assert.Equal(t, "mine", c.read(file))
			}
		})
	}

	c := newHostOfVolume(t)
	printed, err := c.state()
	require.Error(t, err)
	assert.Contains(t, printed, "the volume vol-0a1 does not appear on this machine")
}

// A control plane that an earlier version of the program created on the machine's own disk is moved. The move may be
// interrupted at any time before its end.
func TestTheStateOfAnOlderControlPlaneIsMoved(t *testing.T) {
	for name, left := range map[string][]string{
		"at the first try":               nil,
		"after a move that was cut off":  {"var/lib/eco2/etcd/member/half", "var/lib/eco2/pki.new/half"},
		"after one that was almost done": {"var/lib/eco2/etcd/member/db", "var/lib/eco2/nodes/k8s-redis"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newHostOfVolume(t)
			c.write(stateDevice, "")
			for file, content := range map[string]string{
				completed: "", "etc/kubernetes/pki/ca.key": "key", "etc/kubernetes/encryption.yaml": "secret",
				"var/lib/etcd/member/db": "data", "nodes/k8s-redis": "10.0.16.5",
			} {
				c.write(file, content)
			}
			for _, file := range left {
				c.write(file, "half")
			}
			printed, err := c.state()
			require.NoError(t, err, printed)
			for file, want := range map[string]string{"pki/ca.key": "key", "encryption.yaml": "secret", "etcd/member/db": "data", "nodes/k8s-redis": "10.0.16.5"} {
				assert.Equal(t, want, c.read("var/lib/eco2/"+file), file)
			}
			assert.NoFileExists(t, filepath.Join(c.dir, "var/lib/eco2/etcd/member/half"))
			assert.NoFileExists(t, filepath.Join(c.dir, "var/lib/eco2/pki/half"))
			assert.Equal(t, "data", c.read("var/lib/etcd/member/db"), "etcd must find it where it was")
			calls := c.read("calls")
			for _, order := range [][]string{{"systemctl stop kubelet", "crictl stopp kube-apiserver-1", "crictl stopp etcd-1", "systemctl start eco2-state", "systemctl start kubelet"}} {
				at := -1
				for _, call := range order {
					next := strings.Index(calls, call)
					assert.Greater(t, next, at, "%s in\n%s", call, calls)
					at = next
				}
			}

			printed, err = c.state()
			require.NoError(t, err, printed)
			assert.NotContains(t, c.read("calls"), "stop", "it is on the volume already")
		})
	}
}
