package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestInstanceTypes(t *testing.T) {
	for _, family := range strings.Fields(`
		m1 m4 m5 m5a m5ad m5d m5dn m5n m5zn m6a m6i m6id m6idn m6in m7a m7i m7i-flex m8a m8azn m8i m8i-flex t1 t2 t3 t3a
		c3 c4 c5 c5a c5ad c5d c5n c6a c6i c6id c6in c7a c7i c7i-flex c8a c8i c8i-flex cc2
		r3 r4 r5 r5a r5b r5dn r6a r6i r6idn r7a r7i r7iz r8a r8i r8i-flex x1 x1e x2idn x2iedn x2iezn x8aedz z1d
		u-6tb1 u-24tb1 u7i-6tb u7i-12tb u7ib-12tb u7in-32tb u7inh-32tb
		d2 d3 d3en h1 hs1 i2 i3 i3en i4i i7i i7ie hpc6a hpc6id hpc7a hpc8a
		dl1 dl2q f1 f2 g2 g3 g3s g4ad g4dn g5 g6 g6e g6f g7e gr6 gr6f inf1 inf2 p2 p3dn p4d p5 p5e p5en p6-b200 p6-b300
		trn1 trn1n trn2 vt1`) {
		for _, size := range []string{".large", ".xlarge", ".224xlarge", ".metal", ".metal-48xl"} {
			assert.Empty(t, instanceTypeProblem(family+size))
		}
	}
	for _, family := range strings.Fields(`
		a1 t4g m6g m6gd m7g m7gd m8g m8gb m8gd m8gn c6g c6gd c6gn c7g c7gd c7gn c8g c8gb c8gd c8gn
		r6g r6gd r7g r7gd r8g r8gb r8gd r8gn x2gd x8g i4g i8g i8ge im4gn is4gen g5g hpc7g p6e-gb200 p6e-gb300`) {
		for _, size := range []string{".medium", ".16xlarge", ".metal"} {
			assert.Contains(t, instanceTypeProblem(family+size), "has an ARM processor", family+size)
		}
	}
	for _, name := range []string{"mac1.metal", "mac2.metal", "mac2-m2pro.metal", "mac-m4.metal"} {
		assert.Contains(t, instanceTypeProblem(name), "is a Mac", name)
	}
	for _, name := range []string{"t3", "t3-large", "T3.large", "t3.huge", "t3.large ", "large.t3", ".large"} {
		assert.Contains(t, instanceTypeProblem(name), "is not an instance type such as t3.large", name)
	}
}
