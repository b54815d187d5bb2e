package awsapi

import (
	"fmt"
	"slices"
	"strings"
)

// usage is what statements allowed so far: the actions, by statement.
type usage map[place]map[string]bool

func (u usage) note(by []place, action string) {
	for _, p := range by {
		if u[p] == nil {
			u[p] = map[string]bool{}
		}
		u[p][strings.ToLower(action)] = true
	}
}

// Denied lists what was asked of the API and not allowed, each once, in the order of time.
func (a *API) Denied() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.denied)
}

// Unneeded lists what one of a role's policies allows and nobody has asked of the API, by statement. Statements count
// from 1.
func (a *API) Unneeded(role, policy string) (list []string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	granted, err := a.granted(role)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(granted, func(p policyDocument) bool { return p.name == policy })
	if at < 0 {
		return nil, fmt.Errorf("looking for what nobody needs: role %s has no policy %s", role, policy)
	}
	for i, s := range granted[at].statements {
		used := a.usage[place{policy, i}]
		for _, pattern := range s.Action {
			needed := false
			for action := range used {
				needed = needed || matches(strings.ToLower(pattern), action)
			}
			if !needed {
				list = append(list, fmt.Sprintf("%s, statement %d: %s", policy, i+1, pattern))
			}
		}
	}
	return list, nil
}
