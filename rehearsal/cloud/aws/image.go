package aws

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/engine/plugin"
	"eco2/rehearsal/internal/store"
)

// canonical is the ID of Canonical's account, which publishes Ubuntu's images.
const canonical = "099720109477"

// imageKind is the kind of the images that ReleaseImage added; they do not count as resources of the account.
const imageKind = "index.image"

// Image is a machine image (AMI). It exists in every region, with a different ID in each.
type Image struct {
	// ID, if it is set, is the image's ID in all regions; otherwise In derives one from region and name.
	ID string
	// Name is, for instance, "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20250821".
	Name    string
	OwnerID string
	// Architecture is "x86_64" or "arm64".
	Architecture string
	// CreationDate is an RFC 3339 time with milliseconds, in UTC.
	CreationDate string
	// RootGiB is the size of its snapshot, and so the minimum size of a root volume.
	RootGiB int
}

// images are some of Canonical's Ubuntu 24.04 images, with serials that were published.
var images = func() (list []Image) {
	for _, serial := range []string{"20240423", "20240927", "20250115", "20250610", "20250821"} {
		for _, arch := range [][2]string{{"amd64", "x86_64"}, {"arm64", "arm64"}} {
			list = append(list, UbuntuImage(serial, arch[0], arch[1]))
		}
	}
	return list
}()

// UbuntuImage returns the Ubuntu 24.04 image with a serial such as "20250821". The architecture is given in Ubuntu's
// and in AWS's spelling: amd64 is x86_64.
func UbuntuImage(serial, ubuntuArch, awsArch string) Image {
	return Image{
		Name:    fmt.Sprintf("ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-%s-server-%s", ubuntuArch, serial),
		OwnerID: canonical, Architecture: awsArch, RootGiB: 8,
		CreationDate: fmt.Sprintf("%s-%s-%sT00:00:00.000Z", serial[:4], serial[4:6], serial[6:]),
	}
}

// In returns the image's ID in a region.
func (i Image) In(region string) string {
	if i.ID != "" {
		return i.ID
	}
	sum := sha256.Sum256([]byte(region + i.Name))
	return "ami-0" + hex.EncodeToString(sum[:])[:16]
}

// images lists all images, built-in and released ones.
func (t tx) images() ([]Image, error) {
	list := slices.Clone(images)
	err := store.Each(t.Tx, imageKind, func(_ string, i Image) error {
		list = append(list, i)
		return nil
	})
	return list, err
}

// image finds an image of the region by its ID.
func (t tx) image(id string) (Image, error) {
	if !imageShape.MatchString(id) {
		return Image{}, refuse("InvalidAMIID.Malformed", "Invalid id: \"%s\" (expecting \"ami-...\")", id)
	}
	list, err := t.images()
	if err != nil {
		return Image{}, err
	}
	for _, i := range list {
		if i.In(t.region) == id {
			return i, nil
		}
	}
	return Image{}, refuse("InvalidAMIID.NotFound", "The image id '[%s]' does not exist", id)
}

var imageShape = regexp.MustCompile(`^ami-[0-9a-f]{8,17}$`)

// imageFilters returns an image's value for each of EC2's filters.
var imageFilters = map[string]func(i Image, id string) string{
	"architecture":        func(i Image, _ string) string { return i.Architecture },
	"hypervisor":          func(Image, string) string { return "xen" },
	"image-id":            func(_ Image, id string) string { return id },
	"image-type":          func(Image, string) string { return "machine" },
	"is-public":           func(Image, string) string { return "true" },
	"name":                func(i Image, _ string) string { return i.Name },
	"owner-id":            func(i Image, _ string) string { return i.OwnerID },
	"root-device-type":    func(Image, string) string { return "ebs" },
	"state":               func(Image, string) string { return "available" },
	"virtualization-type": func(Image, string) string { return "hvm" },
	"ena-support":         func(Image, string) string { return "true" },
	"creation-date":       func(i Image, _ string) string { return i.CreationDate },
}

// getAmi implements the function aws.ec2.getAmi: it returns the newest image that matches all filters, or with
// mostRecent unset the only one.
func (c *cloud) getAmi(_ context.Context, args resource.PropertyMap) (resource.PropertyMap, []plugin.Failure, error) {
	in, failures := inputs{
		"owners":            texts(),
		"filters":           list(inputs{"name": text(required), "values": texts(required)}),
		"mostRecent":        flag(fallback(false)),
		"includeDeprecated": flag(fallback(false)),
		"nameRegex":         text(),
	}.check("aws:ec2/getAmi:getAmi", "", args)
	if len(failures) > 0 {
		return nil, failures, nil
	}
	query := object(in.Mappable())
	t := tx{region: c.settings.Load().region}
	var found []Image
	err := c.account.store.View(func(s *store.Tx) error {
		t.Tx = s
		list, err := t.images()
		for _, i := range list {
			ok, merr := matches(i, i.In(t.region), query)
			if merr != nil {
				return merr
			}
			if ok {
				found = append(found, i)
			}
		}
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("reading EC2 AMIs: %w", err)
	}
	if len(found) == 0 {
		return nil, nil, fmt.Errorf("Your query returned no results. Please change your search criteria and try again.") //nolint:staticcheck,revive // the provider's message
	}
	if len(found) > 1 && !query.flag("mostRecent") {
		return nil, nil, fmt.Errorf("Your query returned more than one result. Please try a more specific search criteria, or set `most_recent` attribute to true.") //nolint:staticcheck,revive // the provider's message
	}
	newest := slices.MaxFunc(found, func(a, b Image) int { return cmp.Compare(a.CreationDate, b.CreationDate) })
	return newest.result(t, in), nil, nil
}

func matches(i Image, id string, query object) (bool, error) {
	if owners := query.texts("owners"); len(owners) > 0 && !slices.Contains(owners, i.OwnerID) {
		return false, nil
	}
	if pattern := query.text("nameRegex"); pattern != "" {
		re, err := regexp.Compile(pattern)
		if err != nil {
			return false, fmt.Errorf("reading nameRegex: %w", err)
		}
		if !re.MatchString(i.Name) {
			return false, nil
		}
	}
	for _, f := range query.objects("filters") {
		value, ok := imageFilters[f.text("name")]
		if !ok {
			return false, fmt.Errorf("operation error EC2: DescribeImages, %w", refuse("InvalidParameterValue", "The filter '%s' is invalid", f.text("name")))
		}
		if !slices.ContainsFunc(f.texts("values"), func(glob string) bool { return globMatches(glob, value(i, id)) }) {
			return false, nil
		}
	}
	return true, nil
}

// globMatches reports whether a value matches an EC2 filter. There * and ? match slashes too, and no other character is
// special.
func globMatches(glob, s string) bool {
	hide := strings.NewReplacer("/", "\x00", "[", `\[`, `\`, `\\`)
	ok, err := path.Match(hide.Replace(glob), strings.ReplaceAll(s, "/", "\x00"))
	return ok && err == nil
}

// result returns the outputs of getAmi, with all fields that the SDK reads.
func (i Image) result(t tx, in resource.PropertyMap) resource.PropertyMap {
	id := i.In(t.region)
	out := in.Copy()
	out["id"] = resource.NewStringProperty(id)
	for key, v := range map[string]any{
		"imageId": id, "arn": fmt.Sprintf("arn:aws:ec2:%s::image/%s", t.region, id), "name": i.Name, "ownerId": i.OwnerID,
		"architecture": i.Architecture, "creationDate": i.CreationDate, "description": "", "state": "available",
		"bootMode": "uefi-preferred", "deprecationTime": "", "enaSupport": true, "hypervisor": "xen",
		"imageLocation": i.OwnerID + "/" + i.Name, "imageOwnerAlias": "", "imageType": "machine", "imdsSupport": "v2.0",
		"kernelId": "", "lastLaunchedTime": "", "platform": "", "platformDetails": "Linux/UNIX", "productCodes": []any{},
		"public": true, "ramdiskId": "", "rootDeviceName": rootDevice, "rootDeviceType": "ebs", "rootSnapshotId": i.snapshot(t),
		"sriovNetSupport": "simple", "stateReason": map[string]any{"code": "UNSET", "message": "UNSET"}, "tags": map[string]any{},
		"tpmSupport": "", "usageOperation": "RunInstances", "virtualizationType": "hvm",
		"blockDeviceMappings": []any{map[string]any{"deviceName": rootDevice, "noDevice": "", "virtualName": "",
			"ebs": map[string]any{"delete_on_termination": "true", "encrypted": "false", "iops": "0", "snapshot_id": i.snapshot(t),
				"throughput": "0", "volume_size": fmt.Sprint(i.RootGiB), "volume_type": "gp3"}}},
	} {
		out[resource.PropertyKey(key)] = resource.NewPropertyValue(v)
	}
	return out
}

func (i Image) snapshot(t tx) string { return "snap-" + strings.TrimPrefix(i.In(t.region), "ami-") }
