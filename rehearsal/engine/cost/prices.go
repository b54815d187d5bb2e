package cost

import (
	"bytes"
	_ "embed" // for the table
	"errors"
	"fmt"

	"gopkg.in/yaml.v3"
)

//go:embed prices.yaml
var embedded []byte

// Prices is the table of a region's prices on a certain day.
type Prices struct {
	// Date is the day, such as 2026-11-25.
	Date     string `yaml:"date"`
	Region   string `yaml:"region"`
	Currency string `yaml:"currency"`
	// HoursPerMonth converts hourly prices to monthly ones.
	HoursPerMonth float64 `yaml:"hoursPerMonth"`
	// LeavesOut describes the costs that an estimate does not include.
	LeavesOut string `yaml:"leavesOut"`
	// Prices maps the name of what is bought, such as an instance type or a volume type, to its price.
	Prices map[string]Price `yaml:"prices"`
}

// Price is the price of one unit.
type Price struct {
	Price float64 `yaml:"price"`
	// Unit is hour or GB-month.
	Unit string `yaml:"unit"`
	// Source says where the price is from and how reliable it is.
	Source string `yaml:"source"`
}

// Load parses the table that is embedded in this package, prices.yaml.
func Load() (Prices, error) { return parse(embedded) }

func parse(data []byte) (Prices, error) {
	var p Prices
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&p); err != nil {
		return p, fmt.Errorf("reading prices.yaml: %w", err)
	}
	problems := []error{}
	if p.HoursPerMonth <= 0 {
		problems = append(problems, errors.New("hoursPerMonth must be more than 0"))
	}
	for name, price := range p.Prices {
		if price.Unit != "hour" && price.Unit != "GB-month" {
			problems = append(problems, fmt.Errorf("the unit of %s is %q; it must be hour or GB-month", name, price.Unit))
		}
		if price.Price <= 0 || price.Source == "" {
			problems = append(problems, fmt.Errorf("%s must have a price above 0 and its source", name))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return p, fmt.Errorf("reading prices.yaml: %w", err)
	}
	return p, nil
}

// monthly returns the price of one of these for a month; ok is false if the table has no price.
func (p Prices) monthly(name string) (amount float64, ok bool) {
	price, ok := p.Prices[name]
	if price.Unit == "hour" {
		return price.Price * p.HoursPerMonth, ok
	}
	return price.Price, ok
}
