package awsapi

// Refuse has the API refuse an operation of the Query protocol the next times, whoever asks. Without a code it is the
// service's for callers that are too fast.
func (a *API) Refuse(action, code string, times int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refusals == nil {
		a.refusals = map[string]refusals{}
	}
	a.refusals[action] = refusals{code, times}
}

// Refusals is how many refusals of an operation are still to come.
func (a *API) Refusals(action string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.refusals[action].left
}

// refusals are those of an operation that are still to come.
type refusals struct {
	code string
	left int
}

// met says whether this time is one of those.
func (a *API) met(action string) (r refusals, hit bool) {
	if r = a.refusals[action]; r.left == 0 {
		return r, false
	}
	a.refusals[action] = refusals{r.code, r.left - 1}
	return r, true
}
