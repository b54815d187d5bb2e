package api

import (
	"slices"

	"eco2/rehearsal/cloud/aws"
)

// ACM's responses about certificates, which callers use to find a certificate that is valid for a name.
type (
	certificateSummary struct {
		CertificateArn, DomainName, Status, Type string
	}
	certificateDetail struct {
		certificateSummary
		SubjectAlternativeNames []string
	}
)

func summary(certificate aws.Certificate) certificateSummary {
	return certificateSummary{certificate.ARN, certificate.Domain, certificate.Status, "AMAZON_ISSUED"}
}

func (c *call) listCertificates(in struct {
	CertificateStatuses []string
	Includes            struct {
		KeyTypes []string `json:"keyTypes"`
	} // ignored: all certificates of the rehearsal have keys of the first type
	MaxItems int // ignored: there is only one page
},
) (out struct{ CertificateSummaryList []certificateSummary }, err error) {
	if err := c.authorize("acm:ListCertificates", "*", nil); err != nil {
		return out, err
	}
	out.CertificateSummaryList = []certificateSummary{}
	certificates, err := c.account.Certificates()
	for _, certificate := range certificates {
		if len(in.CertificateStatuses) == 0 || slices.Contains(in.CertificateStatuses, certificate.Status) {
			out.CertificateSummaryList = append(out.CertificateSummaryList, summary(certificate))
		}
	}
	return out, err
}

func (c *call) describeCertificate(in struct{ CertificateArn string }) (out struct{ Certificate certificateDetail }, err error) {
	if err := c.authorize("acm:DescribeCertificate", in.CertificateArn, nil); err != nil {
		return out, err
	}
	certificates, err := c.account.Certificates()
	if err != nil {
		return out, err
	}
	at := slices.IndexFunc(certificates, func(is aws.Certificate) bool { return is.ARN == in.CertificateArn })
	if at < 0 {
		return out, refuse("ResourceNotFoundException", "Could not find certificate %s.", in.CertificateArn)
	}
	out.Certificate = certificateDetail{summary(certificates[at]), certificates[at].Names}
	return out, nil
}
