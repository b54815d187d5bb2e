package controllers

import (
	"context"
	"regexp"
	"slices"
	"strconv"

	"eco2/rehearsal/cloud/client/ebs"
	"eco2/rehearsal/cluster/model"
)

const (
	// claimInUse is the finalizer that keeps a claim while a pod mounts it.
	claimInUse = "kubernetes.io/pvc-protection"
	// volumeExists is the finalizer that keeps a PersistentVolume until the driver has deleted its EBS volume.
	volumeExists = "external-provisioner.volume.kubernetes.io/finalizer"
	driver       = "ebs.csi.aws.com"
)

// claims provisions volumes for claims that a pod mounts, and lets deleted claims go when no pod mounts them.
func claims(s *snapshot) error {
	for _, claim := range s.of("", "PersistentVolumeClaim") {
		used := slices.ContainsFunc(s.of("", "Pod"), func(pod model.Object) bool {
			return pod.Ref.Namespace == claim.Ref.Namespace && slices.Contains(claimsOf(list(pod.Live, "spec", "volumes")), claim.Ref.Name)
		})
		if err := s.addFinalizer(claim, claimInUse); err != nil {
			return err
		}
		var err error
		switch {
		case !claim.Deleted.IsZero() && !used && claim.HasFinalizer(claimInUse):
			err = s.removeFinalizer(claim, claimInUse)
		case claim.Deleted.IsZero() && used && text(claim.Live, "status", "phase") != "Bound":
			err = s.provision(claim)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

var gibibytes = regexp.MustCompile(`^(\d+)Gi$`)

// provision creates the volume of a claim, attaches it and binds the claim.
func (s *snapshot) provision(claim model.Object) error {
	class, ok := s.storageClass(text(claim.Live, "spec", "storageClassName"))
	size := gibibytes.FindStringSubmatch(text(claim.Live, "spec", "resources", "requests", "storage"))
	if !ok || size == nil || !s.runs("Deployment", "ebs-csi-controller") {
		return nil // the claim stays Pending
	}
	gib, err := strconv.Atoi(size[1])
	if err != nil {
		return err
	}
	ctx, aws, made := context.Background(), s.caller(), ebs.Volume{}
	err = aws.Call(ctx, ebs.Service, ebs.CreateVolume, ebs.NewVolume{
		ClientToken: claim.UID, Size: gib, AvailabilityZone: s.machine.AvailabilityZone,
		Tags: map[string]string{
			"kubernetes.io/cluster/" + s.name: "owned", "ebs.csi.aws.com/cluster": "true", "ebs.csi.aws.com/cluster-name": s.name,
			"kubernetes.io/created-for/pvc/namespace": claim.Ref.Namespace, "kubernetes.io/created-for/pvc/name": claim.Ref.Name,
		},
	}, &made)
	if err == nil && made.InstanceID == "" {
		err = aws.Call(ctx, ebs.Service, ebs.AttachVolume, ebs.Attachment{VolumeID: made.VolumeID, InstanceID: s.machine.ID}, nil)
	}
	if err != nil { // the claim stays Pending
		return s.recordFailure("ebs-csi-driver", "ProvisioningFailed", []model.Object{claim}, err)
	}
	volume := named("PersistentVolume", "", "pvc-"+claim.UID[:8])
	delete(volume["metadata"].(map[string]any), "namespace")
	volume["spec"] = map[string]any{
		"csi":                           map[string]any{"driver": driver, "volumeHandle": made.VolumeID},
		"claimRef":                      map[string]any{"namespace": claim.Ref.Namespace, "name": claim.Ref.Name, "uid": claim.UID},
		"persistentVolumeReclaimPolicy": text(class.Live, "reclaimPolicy"),
	}
	if err := s.apply("csi-provisioner", volume); err != nil {
		return err
	}
	if err := s.cluster.AddFinalizer(volume.Ref(), volumeExists); err != nil {
		return err
	}
	return s.cluster.SetStatus(claim.Ref, map[string]any{"phase": "Bound"})
}

// deleteVolume deletes the EBS volume of a PersistentVolume, and removes the PersistentVolume's finalizer.
func (s *snapshot) deleteVolume(volume model.Object, id string) error {
	ctx, aws, found := context.Background(), s.caller(), ebs.Volumes{}
	err := aws.Call(ctx, ebs.Service, ebs.DescribeVolumes, ebs.VolumeIDs{}, &found)
	for _, v := range found.Volumes {
		if v.VolumeID != id || err != nil {
			continue
		}
		if v.InstanceID != "" {
			err = aws.Call(ctx, ebs.Service, ebs.DetachVolume, ebs.Attachment{VolumeID: id, InstanceID: v.InstanceID}, nil)
		}
		if err == nil {
			err = aws.Call(ctx, ebs.Service, ebs.DeleteVolume, ebs.VolumeID{VolumeID: id}, nil)
		}
	}
	if err != nil {
		return s.recordFailure("ebs-csi-driver", "VolumeFailedDelete", []model.Object{volume}, err)
	}
	return s.removeFinalizer(volume, volumeExists)
}

// storageClass returns the StorageClass of this name, or the default one for an empty name; ok is true if the class
// uses the EBS driver.
func (s *snapshot) storageClass(name string) (model.Object, bool) {
	for _, class := range s.of("storage.k8s.io", "StorageClass") {
		isDefault := annotation(class, "storageclass.kubernetes.io/is-default-class") == "true"
		if class.Ref.Name == name || name == "" && isDefault {
			return class, text(class.Live, "provisioner") == driver
		}
	}
	return model.Object{}, false
}

// volumes deletes PersistentVolumes whose claims no longer exist, if their reclaim policy is Delete.
func volumes(s *snapshot) error {
	for _, volume := range s.of("", "PersistentVolume") {
		claimed := slices.ContainsFunc(s.of("", "PersistentVolumeClaim"), func(claim model.Object) bool {
			return claim.UID == text(volume.Live, "spec", "claimRef", "uid")
		})
		handle := text(volume.Live, "spec", "csi", "volumeHandle")
		var err error
		switch {
		case handle == "" || claimed || text(volume.Live, "spec", "persistentVolumeReclaimPolicy") != "Delete":
		case volume.Deleted.IsZero():
			err = s.remove(volume.Ref)
		case s.runs("Deployment", "ebs-csi-controller") && s.elapsed(volume.Deleted, volumeDelete):
			err = s.deleteVolume(volume, handle)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
