package aws

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
		name := c.obj.text("keyName")
		other, err := c.get("keyPair", name)
		if err != nil {
			return err
		}
		if other != nil {
			return refuse("InvalidKeyPair.Duplicate", "The keypair already exists")
		}
		typ, fingerprint, err := parseKey(c.obj.text("publicKey"))
		if err != nil {
			return err
		}
		c.fill(object{"id": name, "arn": c.arn("ec2", "key-pair/"+name), "keyPairId": newID("key"), "keyType": typ,
			"fingerprint": fingerprint, "keyNamePrefix": ""})
		return nil
	},
}

// parseKey parses a public key in OpenSSH's format and returns the fingerprint that EC2 computes. Like EC2, it accepts
// RSA and ED25519 keys only.
func parseKey(s string) (typ, fingerprint string, err error) {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(s))
	if err != nil {
		return "", "", refuse("InvalidKey.Format", "Key is not in valid OpenSSH public key format")
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
	return "", "", refuse("InvalidKey.Format", "Key is not in valid OpenSSH public key format: EC2 takes RSA and ED25519 keys, not %s", key.Type())
}

// rootDevice is the device name of the root volume in Canonical's images.
const rootDevice = "/dev/sda1"

var instance = spec{
	title: "EC2 Instance", service: "EC2", calls: calls{"RunInstances", "ModifyInstanceAttribute", "TerminateInstances"},
	affects: object.id,
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
		if own, err := c.hasOwnPublic(c.old); err != nil || !own || !c.restarts() {
			return nil
		}
		return []string{"publicDns", "publicIp"}
	},
	remove: func(c *call) error {
		if c.obj.flag("disableApiTermination") {
			return refuse("OperationNotPermitted", "The instance '%s' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.", c.obj.id())
		}
		if err := c.dropPublic(c.obj); err != nil {
			return err
		}
		if err := c.Delete(privateIndex, c.obj.text("_vpcId")+" "+c.obj.text("privateIp")); err != nil {
			return err
		}
		if err := c.drop(interfaceKind, c.obj.text("primaryNetworkInterfaceId")); err != nil {
			return err
		}
		if err := c.detachVolumes(c.obj.id()); err != nil {
			return err
		}
		root := c.obj.object("rootBlockDevice")
		if root.flag("deleteOnTermination") {
			return c.drop(volumeKind, root.text("volumeId"))
		}
		return c.keepVolume(root, "")
	},
}

func runInstance(c *call) error {
	image, err := c.image(c.obj.text("ami"))
	if err != nil {
		return err
	}
	sub, err := c.require("subnet", c.obj.text("subnetId"))
	if err != nil {
		return err
	}
	network, err := c.require("vpc", sub.text("vpcId"))
	if err != nil {
		return err
	}
	if zone := c.obj.text("availabilityZone"); zone != "" && zone != sub.text("availabilityZone") {
		return refuse("InvalidParameterValue", "The availability zone '%s' is not that of subnet '%s', '%s'", zone, sub.id(), sub.text("availabilityZone"))
	}
	authorized := ""
	if name := c.obj.text("keyName"); name != "" {
		pair, err := c.require("keyPair", name)
		if err != nil {
			return err
		}
		authorized = pair.text("publicKey")
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
	id := newID("i")
	ip, err := c.takePrivate(sub, c.obj.text("privateIp"), address{VPC: network.id(), Instance: id})
	if err != nil {
		return err
	}
	eni := newID("eni")
	c.fill(object{
		"id": id, "arn": c.arn("ec2", "instance/"+id), "instanceState": "running", "instanceLifecycle": "", "outpostArn": "",
		"passwordData": "", "ipv6Addresses": []any{}, "secondaryPrivateIps": []any{}, "securityGroups": []any{},
		"primaryNetworkInterfaceId": eni, "privateIp": ip, "privateDns": c.privateName(ip), "publicIp": "", "publicDns": "",
		// The key that cloud-init installs at the first boot: replacing the key pair of that name does not change the
		// key on the machine.
		"_authorizedKey": authorized,
		"_vpcId":         network.id(), "_userData": userData(c.in), "availabilityZone": sub.text("availabilityZone"),
	})
	for key, v := range map[string]any{
		"associatePublicIpAddress": sub.flag("mapPublicIpOnLaunch"), "keyName": "", "iamInstanceProfile": "",
		"vpcSecurityGroupIds": []any{network.text("defaultSecurityGroupId")}, "disableApiStop": false,
		"disableApiTermination": false, "ebsOptimized": false, "monitoring": false, "tenancy": "default",
		"instanceInitiatedShutdownBehavior": "stop", "maintenanceOptions": map[string]any{}, "metadataOptions": map[string]any{},
		"privateDnsNameOptions": map[string]any{}, "rootBlockDevice": map[string]any{"deleteOnTermination": true},
	} {
		c.obj.setDefault(key, v)
	}
	c.obj.object("maintenanceOptions").setDefault("autoRecovery", "default")
	// Since 23.04 Canonical registers its images with imds-support v2.0: tokens are required, and the hop limit is 2.
	for key, v := range map[string]any{"httpEndpoint": "enabled", "httpProtocolIpv6": "disabled",
		"httpPutResponseHopLimit": 2, "httpTokens": "required", "instanceMetadataTags": "disabled"} {
		c.obj.object("metadataOptions").setDefault(key, v)
	}
	for key, v := range map[string]any{"enableResourceNameDnsARecord": sub.flag("enableResourceNameDnsARecordOnLaunch"),
		"enableResourceNameDnsAaaaRecord": false, "hostnameType": sub.text("privateDnsHostnameTypeOnLaunch")} {
		c.obj.object("privateDnsNameOptions").setDefault(key, v)
	}
	root := c.obj.object("rootBlockDevice")
	root["volumeId"], root["deviceName"] = newID("vol"), rootDevice
	// The defaults of the image's snapshot and of gp3.
	for key, v := range map[string]any{"volumeType": "gp3", "volumeSize": image.RootGiB, "encrypted": false, "kmsKeyId": "",
		"iops": 3000, "throughput": 125} {
		root.setDefault(key, v)
	}
	if size := int(root.number("volumeSize")); size < image.RootGiB {
		return refuse("InvalidBlockDeviceMapping", "Volume of size %dGB is smaller than snapshot '%s', expect size >= %dGB", size, image.snapshot(c.tx), image.RootGiB)
	}
	if err := c.assignPublic(c.obj); err != nil {
		return err
	}
	err = c.put(interfaceKind, object{"id": eni, "vpcId": network.id(), "subnetId": sub.id(), "privateIp": ip,
		"instance": id, "_name": c.obj.title()})
	if err != nil {
		return err
	}
	return c.keepVolume(root, id)
}

// keepVolume stores a root volume and the instance that it is attached to.
func (c *call) keepVolume(root object, attachedTo string) error {
	return c.put(volumeKind, object{"id": root.text("volumeId"), "size": root.number("volumeSize"), "type": root.text("volumeType"),
		"encrypted": root.flag("encrypted"), "instance": attachedTo, "availabilityZone": c.obj.text("availabilityZone"),
		"_name": c.obj.title()})
}

func updateInstance(c *call) error {
	if err := c.checkReferences(); err != nil {
		return err
	}
	root, before := c.obj.object("rootBlockDevice"), c.old.object("rootBlockDevice")
	if root.number("volumeSize") < before.number("volumeSize") {
		return &apiError{code: "InvalidParameterValue", message: "New size cannot be smaller than existing size", operation: "ModifyVolume",
			during: fmt.Sprintf("updating EC2 Instance (%s) volume (%s)", c.obj.id(), root.text("volumeId"))}
	}
	if err := c.keepVolume(root, c.obj.id()); err != nil {
		return err
	}
	if !c.restarts() {
		return nil
	}
	if c.obj.text("instanceType") != c.old.text("instanceType") {
		image, err := c.image(c.obj.text("ami"))
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
	own, err := c.hasOwnPublic(c.obj)
	if err != nil || !own {
		return err
	}
	old := c.obj.text("publicIp")
	if err := c.assignPublic(c.obj); err != nil { // before the old one is freed, as AWS rarely assigns the same one again
		return err
	}
	return c.Delete(publicIndex, old)
}

// restarts reports whether an update stops and starts the instance.
func (c *call) restarts() bool {
	return c.obj.text("instanceType") != c.old.text("instanceType") || c.changed("userData", "userDataBase64")
}

// checkReferences checks an instance's security groups and instance profile.
func (c *call) checkReferences() error {
	sub, err := c.require("subnet", c.obj.text("subnetId"))
	if err != nil {
		return err
	}
	network := sub.text("vpcId")
	for _, id := range c.obj.texts("vpcSecurityGroupIds") {
		group, err := c.get("securityGroup", id)
		if err != nil {
			return err
		}
		if group == nil {
			in, err := c.require("vpc", network)
			if err != nil {
				return err
			}
			if in.text("defaultSecurityGroupId") == id {
				continue
			}
			return refuse(absent["securityGroup"][0], absent["securityGroup"][1], id)
		}
		if group.text("vpcId") != network {
			return refuse("InvalidParameter", "Security group %s and subnet %s belong to different networks.", id, sub.id())
		}
	}
	name := c.obj.text("iamInstanceProfile")
	if name == "" {
		return nil
	}
	profile, err := c.get("instanceProfile", name)
	if err != nil {
		return err
	}
	if profile == nil {
		return refuse("InvalidParameterValue", "Value (%s) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name", name)
	}
	if profile.text("role") == "" {
		return refuse("InvalidParameterValue", "IAM Instance Profile \"%s\" has no associated IAM Roles", profile.text("arn"))
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
func (c *call) checkArchitecture(image Image) error {
	typ, err := knownType(c.obj.text("instanceType"))
	if err != nil || slices.Contains(typ.architectures, image.Architecture) {
		return err
	}
	return refuse("InvalidParameterValue", "The architecture '%s' of the specified instance type does not match the architecture '%s' of the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again.", strings.Join(typ.architectures, ","), image.Architecture)
}

// userData returns the user data as the instance reads it, with userDataBase64 decoded.
func userData(in object) string {
	if encoded := in.text("userDataBase64"); encoded != "" {
		if data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded)); err == nil {
			return string(data)
		}
	}
	return in.text("userData")
}
