package api

// FailNext makes the API fail the next calls of an operation of the Query protocol, for all callers. An empty code
// stands for the service's throttling error.
func (a *API) FailNext(action, code string, times int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.injected == nil {
		a.injected = map[string]injectedFailure{}
	}
	a.injected[action] = injectedFailure{code, times}
}

// FailuresLeft returns how many more calls of an operation will fail.
func (a *API) FailuresLeft(action string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.injected[action].left
}

// injectedFailure is how many more calls of an operation fail, and with which code.
type injectedFailure struct {
	code string
	left int
}

// nextFailure reports whether this call fails, and counts it.
func (a *API) nextFailure(action string) (f injectedFailure, hit bool) {
	if f = a.injected[action]; f.left == 0 {
		return f, false
	}
	a.injected[action] = injectedFailure{f.code, f.left - 1}
	return f, true
}
