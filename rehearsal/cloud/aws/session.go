package aws

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"

	"eco2/rehearsal/internal/store"
)

// Session is the assumed role of an instance, with the credentials that the metadata service returns. They are not
// valid on AWS itself. They are derived from the instance's ID, so they never change while it exists.
type Session struct {
	Role     string
	Instance Instance
	// Tags are the role's tags, which policies can refer to as principal tags.
	Tags map[string]string

	AccessKeyID, SecretAccessKey, Token string
}

// ARN returns the ARN of the assumed role.
func (s Session) ARN() string {
	return fmt.Sprintf("arn:aws:sts::%s:assumed-role/%s/%s", AccountID, s.Role, s.Instance.ID)
}

// SessionOf returns the session of an instance; ok is false if it has no role.
func (a *Account) SessionOf(i Instance) (s Session, ok bool, err error) {
	role, err := a.RoleOf(i.Profile)
	if err != nil || role == "" {
		return Session{}, false, err
	}
	tags, err := a.tagsOf(role)
	if err != nil {
		return Session{}, false, err
	}
	derived := func(what string) string {
		sum := sha256.Sum256([]byte(what + " " + i.ID))
		return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:])
	}
	return Session{
		Role: role, Instance: i, Tags: tags,
		AccessKeyID: "ASIA" + derived("access key")[:16], SecretAccessKey: derived("secret")[:40], Token: derived("token"),
	}, true, nil
}

// tagsOf returns a role's tags.
func (a *Account) tagsOf(role string) (map[string]string, error) {
	var tagged struct {
		Tags map[string]string `json:"tagsAll"`
	}
	err := a.store.View(func(t *store.Tx) error {
		_, err := t.Get("role", role, &tagged)
		return err
	})
	return tagged.Tags, err
}

// Policy is a policy of a role.
type Policy struct {
	// Name is the name of an inline policy, or the ARN of an attached managed policy.
	Name string
	// Document is the JSON of an inline policy; empty for a managed one.
	Document string
}

// PoliciesOf lists the policies of a role, attached ones without their documents.
func (a *Account) PoliciesOf(role string) (policies []Policy, err error) {
	err = a.store.View(func(t *store.Tx) error {
		inline, err := Tx{Tx: t}.Where("rolePolicy", "role", role)
		attached, err2 := Tx{Tx: t}.Where("rolePolicyAttachment", "role", role)
		for _, o := range inline {
			policies = append(policies, Policy{Name: o.Text("name"), Document: o.Text("policy")})
		}
		for _, o := range attached {
			policies = append(policies, Policy{Name: o.Text("policyArn")})
		}
		return errors.Join(err, err2)
	})
	return policies, err
}
