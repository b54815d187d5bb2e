package api

import (
	"fmt"
	"slices"
	"strings"
)

// usage records which actions each statement has allowed so far.
type usage map[statementRef]map[string]bool

func (u usage) record(by []statementRef, action string) {
	for _, p := range by {
		if u[p] == nil {
			u[p] = map[string]bool{}
		}
		u[p][strings.ToLower(action)] = true
	}
}

// Denied lists the denied requests in the order in which they first occurred, each once.
func (a *API) Denied() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.denied)
}

// UnusedActions lists the actions that one of a role's policies allows and that nobody has called, by statement.
// Statements are numbered from 1.
func (a *API) UnusedActions(role, policy string) (list []string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	granted, err := a.policiesOf(role)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(granted, func(p policyDocument) bool { return p.name == policy })
	if at < 0 {
		return nil, fmt.Errorf("listing unused actions: role %s has no policy %s", role, policy)
	}
	for i, s := range granted[at].statements {
		used := a.usage[statementRef{policy, i}]
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
