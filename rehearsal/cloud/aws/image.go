package aws

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"eco2/rehearsal/internal/store"
)

// Canonical is the ID of Canonical's account, which publishes Ubuntu's images.
const Canonical = "099720109477"

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
		OwnerID: Canonical, Architecture: awsArch, RootGiB: 8,
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

// Images lists all images, built-in and released ones.
func (t Tx) Images() ([]Image, error) {
	list := slices.Clone(images)
	err := store.Each(t.Tx, imageKind, func(_ string, i Image) error {
		list = append(list, i)
		return nil
	})
	return list, err
}

// Image finds an image of the region by its ID.
func (t Tx) Image(id string) (Image, error) {
	if !imageShape.MatchString(id) {
		return Image{}, Refuse("InvalidAMIID.Malformed", "Invalid id: \"%s\" (expecting \"ami-...\")", id)
	}
	list, err := t.Images()
	if err != nil {
		return Image{}, err
	}
	for _, i := range list {
		if i.In(t.Region) == id {
			return i, nil
		}
	}
	return Image{}, Refuse("InvalidAMIID.NotFound", "The image id '[%s]' does not exist", id)
}

var imageShape = regexp.MustCompile(`^ami-[0-9a-f]{8,17}$`)

// Snapshot returns the ID of the image's snapshot in a region.
func (i Image) Snapshot(region string) string {
	return "snap-" + strings.TrimPrefix(i.In(region), "ami-")
}
