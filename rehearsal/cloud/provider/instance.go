package provider

import (
	"crypto/md5"  //nolint:gosec // AWS uses it for the fingerprint of an RSA key
	"crypto/sha1" //nolint:gosec // the provider uses it to hash user data
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"golang.org/x/crypto/ssh"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/engine/plugin"
)

var keyPair = spec{
	title: "EC2 Key Pair", service: "EC2", calls: calls{"ImportKeyPair", "ImportKeyPair", "DeleteKeyPair"},
	inputs: inputs{
		"keyName": text(replaces, lengthBetween(1, 255)),
		"publicKey": text(required, replaces, valid(func(s string) string {
			_, _, err := parseKey(s)
			if err != nil {
				return err.Error()
			}
			return ""
		})),
		"tags": ownTags,
	},
	outputs:  []string{"arn", "fingerprint", "keyNamePrefix", "keyPairId", "keyType"},
	autoname: "keyName",
	create: func(c *call) error {
		name := c.obj.Text("keyName")
		other, err := c.Find("keyPair", name)
		if err != nil {
			return err
		}
		if other != nil {
			return aws.Refuse("InvalidKeyPair.Duplicate", "The keypair already exists")
		}
		typ, fingerprint, err := parseKey(c.obj.Text("publicKey"))
		if err != nil {
			return err
		}
		c.fill(aws.Object{"id": name, "arn": c.ARN("ec2", "key-pair/"+name), "keyPairId": aws.NewID("key"), "keyType": typ,
			"fingerprint": fingerprint, "keyNamePrefix": ""})
		return nil
	},
}

// parseKey parses a public key in OpenSSH's format and returns the fingerprint that EC2 computes. Like EC2, it accepts
// RSA and ED25519 keys only.
func parseKey(s string) (typ, fingerprint string, err error) {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(s))
	if err != nil {
		return "", "", aws.Refuse("InvalidKey.Format", "Key is not in valid OpenSSH public key format")
	}
	switch key.Type() {
	case ssh.KeyAlgoED25519:
		sum := sha256.Sum256(key.Marshal())
		return "ed25519", base64.StdEncoding.EncodeToString(sum[:]), nil
	case ssh.KeyAlgoRSA:
		public, ok := key.(ssh.CryptoPublicKey)
		if !ok {
			break
		}
		der, err := x509.MarshalPKIXPublicKey(public.CryptoPublicKey())
		if err != nil {
			break
		}
		sum := md5.Sum(der) //nolint:gosec // see the import
		return "rsa", regexp.MustCompile(`..\B`).ReplaceAllString(hex.EncodeToString(sum[:]), "$0:"), nil
	}
	return "", "", aws.Refuse("InvalidKey.Format", "Key is not in valid OpenSSH public key format: EC2 takes RSA and ED25519 keys, not %s", key.Type())
}

// rootDevice is the device name of the root volume in Canonical's images.
const rootDevice = "/dev/sda1"

var instance = spec{
	title: "EC2 Instance", service: "EC2", calls: calls{"RunInstances", "ModifyInstanceAttribute", "TerminateInstances"},
	affects: aws.Object.ID,
	inputs: inputs{
		"ami": text(required, replaces),
		// A change is an update: the provider stops, modifies and starts the instance.
		"instanceType": text(required, matching(`^[a-z][a-z0-9]*[0-9][a-z0-9-]*\.(nano|micro|small|medium|large|([0-9]+)?xlarge|metal(-[0-9]+xl)?)$`,
			`an instance type such as "t3.large"`)),
		"subnetId":                          text(required, replaces),
		"availabilityZone":                  text(replaces, computed),
		"keyName":                           text(replaces, computed),
		"vpcSecurityGroupIds":               texts(computed),
		"iamInstanceProfile":                text(computed),
		"associatePublicIpAddress":          flag(replaces, computed),
		"privateIp":                         text(replaces, computed),
		"sourceDestCheck":                   flag(fallback(true)),
		"userData":                          text(computed, lengthBetween(0, 16384)),
		"userDataBase64":                    text(computed),
		"userDataReplaceOnChange":           flag(fallback(false)),
		"disableApiStop":                    flag(computed),
		"disableApiTermination":             flag(computed),
		"ebsOptimized":                      flag(replaces, computed),
		"getPasswordData":                   flag(fallback(false)),
		"instanceInitiatedShutdownBehavior": text(computed, oneOf("stop", "terminate")),
		"monitoring":                        flag(computed),
		"tenancy":                           text(replaces, computed, oneOf("default", "dedicated", "host")),
		"creditSpecification":               nested(inputs{"cpuCredits": text(oneOf("standard", "unlimited"))}),
		"maintenanceOptions":                nested(inputs{"autoRecovery": text(computed, oneOf("default", "disabled"))}, computed),
		"metadataOptions": nested(inputs{
			"httpEndpoint":            text(computed, oneOf("enabled", "disabled")),
			"httpProtocolIpv6":        text(computed, oneOf("enabled", "disabled")),
			"httpPutResponseHopLimit": number(computed, between(1, 64)),
			"httpTokens":              text(computed, oneOf("optional", "required")),
			"instanceMetadataTags":    text(computed, oneOf("enabled", "disabled")),
		}, computed),
		"privateDnsNameOptions": nested(inputs{
			"enableResourceNameDnsARecord":    flag(computed),
			"enableResourceNameDnsAaaaRecord": flag(computed),
			"hostnameType":                    text(computed, oneOf("ip-name", "resource-name")),
		}, computed),
		"rootBlockDevice": nested(inputs{
			"deleteOnTermination": flag(fallback(true)),
			"encrypted":           flag(replaces, computed),
			"iops":                number(computed, between(100, 256000)),
			"kmsKeyId":            text(replaces, computed),
			"tags":                textMap(),
			"throughput":          number(computed, between(125, 1000)),
			"volumeSize":          number(computed, between(1, 16384)),
			"volumeType":          text(computed, oneOf("gp2", "gp3", "io1", "io2", "sc1", "st1", "standard")),
		}, computed),
		"volumeTags": textMap(),
		"tags":       ownTags,
	},
	outputs: []string{"arn", "instanceState", "instanceLifecycle", "ipv6Addresses", "outpostArn", "passwordData",
		"primaryNetworkInterfaceId", "privateDns", "publicDns", "publicIp", "secondaryPrivateIps", "securityGroups"},
	check: func(in resource.PropertyMap) []plugin.Failure {
		if has(in, "userData") && has(in, "userDataBase64") {
			return []plugin.Failure{{Property: "userData", Reason: `"userData": conflicts with userDataBase64`}}
		}
		return nil
	},
	diff: func(r *plugin.Request, d plugin.Diff) {
		// Since v5.43 the provider replaces an instance if its new type has no architecture in common with the old one.
		if change, ok := d.Changed["instanceType"]; ok {
			change.Replaces = noCommonArchitecture(r.OldInputs, r.Inputs)
			d.Changed["instanceType"] = change
		}
		// The provider replaces an instance for a change of its user data only if userDataReplaceOnChange is set.
		if v := r.Inputs["userDataReplaceOnChange"]; !v.IsBool() || !v.BoolValue() {
			return
		}
		for _, key := range []string{"userData", "userDataBase64"} {
			if change, ok := d.Changed[key]; ok {
				change.Replaces = true
				d.Changed[key] = change
			}
		}
	},
	// The provider stores only a hash of user data in the state, as user data may be long and contain secrets.
	normalize: func(in resource.PropertyMap) {
		if data, ok := textOf(in, "userData"); ok {
			sum := sha1.Sum([]byte(data)) //nolint:gosec // see the import
			in["userData"] = resource.NewStringProperty(hex.EncodeToString(sum[:]))
		}
	},
	create: runInstance,
	update: updateInstance,
	changedOutputs: func(c *call) []string {
		// A stop releases a public address that is not an elastic one; the start assigns another.
		if own, err := c.HasOwnPublic(c.old); err != nil || !own || !c.restarts() {
			return nil
		}
		return []string{"publicDns", "publicIp"}
	},
	remove: func(c *call) error {
		if c.obj.Flag("disableApiTermination") {
			return aws.Refuse("OperationNotPermitted", "The instance '%s' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.", c.obj.ID())
		}
		if err := c.DropPublic(c.obj); err != nil {
			return err
		}
		if err := c.Delete(aws.PrivateIndex, c.obj.Text("_vpcId")+" "+c.obj.Text("privateIp")); err != nil {
			return err
		}
		if err := c.Drop(aws.InterfaceKind, c.obj.Text("primaryNetworkInterfaceId")); err != nil {
			return err
		}
		if err := c.DetachVolumes(c.obj.ID()); err != nil {
			return err
		}
		attachments, err := c.Where("volumeAttachment", "instanceId", c.obj.ID())
		if err != nil {
			return err
		}
		for _, attachment := range attachments {
			if err := c.Drop("volumeAttachment", attachment.ID()); err != nil {
				return err
			}
		}
		root := c.obj.Object("rootBlockDevice")
		if root.Flag("deleteOnTermination") {
			return c.Drop(aws.VolumeKind, root.Text("volumeId"))
		}
		return c.keepVolume(root, "")
	},
}

func runInstance(c *call) error {
	image, err := c.Image(c.obj.Text("ami"))
	if err != nil {
		return err
	}
	sub, err := c.Require("subnet", c.obj.Text("subnetId"))
	if err != nil {
		return err
	}
	network, err := c.Require("vpc", sub.Text("vpcId"))
	if err != nil {
		return err
	}
	if zone := c.obj.Text("availabilityZone"); zone != "" && zone != sub.Text("availabilityZone") {
		return aws.Refuse("InvalidParameterValue", "The availability zone '%s' is not that of subnet '%s', '%s'", zone, sub.ID(), sub.Text("availabilityZone"))
	}
	authorized := ""
	if name := c.obj.Text("keyName"); name != "" {
		pair, err := c.Require("keyPair", name)
		if err != nil {
			return err
		}
		authorized = pair.Text("publicKey")
	}
	if err := c.checkReferences(); err != nil {
		return err
	}
	if err := c.checkArchitecture(image); err != nil {
		return err
	}
	if err := c.withinQuota(); err != nil {
		return err
	}
	id := aws.NewID("i")
	ip, err := c.TakePrivate(sub, c.obj.Text("privateIp"), aws.Address{VPC: network.ID(), Instance: id})
	if err != nil {
		return err
	}
	eni := aws.NewID("eni")
	c.fill(aws.Object{
		"id": id, "arn": c.ARN("ec2", "instance/"+id), "instanceState": "running", "instanceLifecycle": "", "outpostArn": "",
		"passwordData": "", "ipv6Addresses": []any{}, "secondaryPrivateIps": []any{}, "securityGroups": []any{},
		"primaryNetworkInterfaceId": eni, "privateIp": ip, "privateDns": c.PrivateName(ip), "publicIp": "", "publicDns": "",
		// The key that cloud-init installs at the first boot: replacing the key pair of that name does not change the
		// key on the machine.
		"_authorizedKey": authorized,
		"_vpcId":         network.ID(), "_userData": userData(c.in), "availabilityZone": sub.Text("availabilityZone"),
	})
	for key, v := range map[string]any{
		"associatePublicIpAddress": sub.Flag("mapPublicIpOnLaunch"), "keyName": "", "iamInstanceProfile": "",
		"vpcSecurityGroupIds": []any{network.Text("defaultSecurityGroupId")}, "disableApiStop": false,
		"disableApiTermination": false, "ebsOptimized": false, "monitoring": false, "tenancy": "default",
		"instanceInitiatedShutdownBehavior": "stop", "maintenanceOptions": map[string]any{}, "metadataOptions": map[string]any{},
		"privateDnsNameOptions": map[string]any{}, "rootBlockDevice": map[string]any{"deleteOnTermination": true},
	} {
		c.obj.SetDefault(key, v)
	}
	c.obj.Object("maintenanceOptions").SetDefault("autoRecovery", "default")
	// Since 23.04 Canonical registers its images with imds-support v2.0: tokens are required, and the hop limit is 2.
	for key, v := range map[string]any{"httpEndpoint": "enabled", "httpProtocolIpv6": "disabled",
		"httpPutResponseHopLimit": 2, "httpTokens": "required", "instanceMetadataTags": "disabled"} {
		c.obj.Object("metadataOptions").SetDefault(key, v)
	}
	for key, v := range map[string]any{"enableResourceNameDnsARecord": sub.Flag("enableResourceNameDnsARecordOnLaunch"),
		"enableResourceNameDnsAaaaRecord": false, "hostnameType": sub.Text("privateDnsHostnameTypeOnLaunch")} {
		c.obj.Object("privateDnsNameOptions").SetDefault(key, v)
	}
	root := c.obj.Object("rootBlockDevice")
	root["volumeId"], root["deviceName"] = aws.NewID("vol"), rootDevice
	// The defaults of the image's snapshot and of gp3.
	for key, v := range map[string]any{"volumeType": "gp3", "volumeSize": image.RootGiB, "encrypted": false, "kmsKeyId": "",
		"iops": 3000, "throughput": 125} {
		root.SetDefault(key, v)
	}
	if size := int(root.Number("volumeSize")); size < image.RootGiB {
		return aws.Refuse("InvalidBlockDeviceMapping", "Volume of size %dGB is smaller than snapshot '%s', expect size >= %dGB", size, image.Snapshot(c.Region), image.RootGiB)
	}
	if err := c.AssignPublic(c.obj); err != nil {
		return err
	}
	err = c.Keep(aws.InterfaceKind, aws.Object{"id": eni, "vpcId": network.ID(), "subnetId": sub.ID(), "privateIp": ip,
		"instance": id, "_name": c.obj.Title()})
	if err != nil {
		return err
	}
	return c.keepVolume(root, id)
}

// keepVolume stores a root volume and the instance that it is attached to.
func (c *call) keepVolume(root aws.Object, attachedTo string) error {
	return c.Keep(aws.VolumeKind, aws.Object{"id": root.Text("volumeId"), "size": root.Number("volumeSize"), "type": root.Text("volumeType"),
		"encrypted": root.Flag("encrypted"), "instance": attachedTo, "availabilityZone": c.obj.Text("availabilityZone"),
		"_name": c.obj.Title()})
}

func updateInstance(c *call) error {
	if err := c.checkReferences(); err != nil {
		return err
	}
	root, before := c.obj.Object("rootBlockDevice"), c.old.Object("rootBlockDevice")
	if root.Number("volumeSize") < before.Number("volumeSize") {
		return &aws.Error{Code: "InvalidParameterValue", Message: "New size cannot be smaller than existing size", Operation: "ModifyVolume",
			During: fmt.Sprintf("updating EC2 Instance (%s) volume (%s)", c.obj.ID(), root.Text("volumeId"))}
	}
	if err := c.keepVolume(root, c.obj.ID()); err != nil {
		return err
	}
	if !c.restarts() {
		return nil
	}
	if c.obj.Text("instanceType") != c.old.Text("instanceType") {
		image, err := c.Image(c.obj.Text("ami"))
		if err != nil {
			return err
		}
		if err := c.checkArchitecture(image); err != nil {
			return err
		}
	}
	c.restart = true
	if c.changed("userData", "userDataBase64") {
		c.obj["_userData"] = userData(c.in)
	}
	own, err := c.HasOwnPublic(c.obj)
	if err != nil || !own {
		return err
	}
	old := c.obj.Text("publicIp")
	if err := c.AssignPublic(c.obj); err != nil { // before the old one is freed, as AWS rarely assigns the same one again
		return err
	}
	return c.Delete(aws.PublicIndex, old)
}

// restarts reports whether an update stops and starts the instance.
func (c *call) restarts() bool {
	return c.obj.Text("instanceType") != c.old.Text("instanceType") || c.changed("userData", "userDataBase64")
}

// checkReferences checks an instance's security groups and instance profile.
func (c *call) checkReferences() error {
	sub, err := c.Require("subnet", c.obj.Text("subnetId"))
	if err != nil {
		return err
	}
	network := sub.Text("vpcId")
	for _, id := range c.obj.Texts("vpcSecurityGroupIds") {
		group, err := c.Find("securityGroup", id)
		if err != nil {
			return err
		}
		if group == nil {
			in, err := c.Require("vpc", network)
			if err != nil {
				return err
			}
			if in.Text("defaultSecurityGroupId") == id {
				continue
			}
			return aws.Refuse(aws.Absent["securityGroup"][0], aws.Absent["securityGroup"][1], id)
		}
		if group.Text("vpcId") != network {
			return aws.Refuse("InvalidParameter", "Security group %s and subnet %s belong to different networks.", id, sub.ID())
		}
	}
	name := c.obj.Text("iamInstanceProfile")
	if name == "" {
		return nil
	}
	profile, err := c.Find("instanceProfile", name)
	if err != nil {
		return err
	}
	if profile == nil {
		return aws.Refuse("InvalidParameterValue", "Value (%s) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name", name)
	}
	if profile.Text("role") == "" {
		return aws.Refuse("InvalidParameterValue", "IAM Instance Profile \"%s\" has no associated IAM Roles", profile.Text("arn"))
	}
	return nil
}

// noCommonArchitecture reports whether no image can boot on both the old and the new instance type.
func noCommonArchitecture(before, after resource.PropertyMap) bool {
	old, _ := textOf(before, "instanceType")
	now, _ := textOf(after, "instanceType")
	from, known := instanceTypes[old]
	to, alsoKnown := instanceTypes[now]
	return known && alsoKnown && !slices.ContainsFunc(to.architectures, func(a string) bool { return slices.Contains(from.architectures, a) })
}

// checkArchitecture checks that the instance type supports the image's architecture.
func (c *call) checkArchitecture(image aws.Image) error {
	typ, err := knownType(c.obj.Text("instanceType"))
	if err != nil || slices.Contains(typ.architectures, image.Architecture) {
		return err
	}
	return aws.Refuse("InvalidParameterValue", "The architecture '%s' of the specified instance type does not match the architecture '%s' of the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again.", strings.Join(typ.architectures, ","), image.Architecture)
}

// userData returns the user data as the instance reads it, with userDataBase64 decoded.
func userData(in aws.Object) string {
	if encoded := in.Text("userDataBase64"); encoded != "" {
		if data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded)); err == nil {
			return string(data)
		}
	}
	return in.Text("userData")
}
