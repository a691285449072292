// Command double stands in for the provider of AWS in tests, which the real one cannot be had for. It has the part of the
// provider's documented schema that deploy/terraform/aws uses (schema.go), makes nothing, and appends every creation, change
// and removal to the file that DOUBLE_LOG names, a line each: VERB TYPE ID.
//
// With it Terraform checks everything about aws/ that does not need AWS: types, references, order, what is replaced and what
// gets into the state. It cannot tell whether AWS would take the values.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"

	"github.com/hashicorp/terraform-plugin-sdk/v2/diag"
	"github.com/hashicorp/terraform-plugin-sdk/v2/helper/schema"
	"github.com/hashicorp/terraform-plugin-sdk/v2/plugin"
)

func main() {
	plugin.Serve(&plugin.ServeOpts{ProviderFunc: provider, ProviderAddr: "registry.terraform.io/hashicorp/aws"})
}

func provider() *schema.Provider {
	p := &schema.Provider{Schema: providerSchema(), ResourcesMap: map[string]*schema.Resource{}, DataSourcesMap: map[string]*schema.Resource{
		"aws_subnet": {Schema: subnetData(), ReadContext: readSubnet},
	}}
	for name, attributes := range resources() {
		p.ResourcesMap[name] = resource(name, attributes)
	}
	return p
}

// resource keeps what it is told, and makes up what the provider would compute.
func resource(name string, attributes map[string]*schema.Schema) *schema.Resource {
	change := func(verb string) func(context.Context, *schema.ResourceData, any) diag.Diagnostics {
		return func(_ context.Context, d *schema.ResourceData, _ any) diag.Diagnostics {
			return diag.FromErr(note(verb, name, d.Id()))
		}
	}
	r := &schema.Resource{
		Schema: attributes,
		CreateContext: func(_ context.Context, d *schema.ResourceData, _ any) diag.Diagnostics {
			d.SetId(idOf(name, d))
			for key, a := range attributes {
				if _, set := d.GetOk(key); a.Computed && !set {
					if err := d.Set(key, d.Id()+"/"+key); err != nil {
						return diag.FromErr(err)
					}
				}
			}
			return diag.FromErr(note("create", name, d.Id()))
		},
		ReadContext:   func(context.Context, *schema.ResourceData, any) diag.Diagnostics { return nil },
		DeleteContext: change("delete"),
	}
	for _, a := range attributes {
		if !a.ForceNew && (a.Optional || a.Required) {
			r.UpdateContext = change("change")
		}
	}
	return r
}

// idOf is the name where the provider uses that, something random otherwise.
func idOf(kind string, d *schema.ResourceData) string {
	if name, ok := d.Get("name").(string); ok && name != "" {
		return name
	}
	return kind + "-" + rand.Text()[:8]
}

// note appends one line; the system writes it whole, although Terraform works on several things at once.
func note(verb, kind, id string) error {
	f, err := os.OpenFile(os.Getenv("DOUBLE_LOG"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	_, err = fmt.Fprintln(f, verb, kind, id)
	return err
}

// readSubnet knows subnet-N of zone N, with the block 10.9.N.0/24.
func readSubnet(_ context.Context, d *schema.ResourceData, _ any) diag.Diagnostics {
	id := d.Get("id").(string) // its type says so
	var n int
	if _, err := fmt.Sscanf(id, "subnet-%d", &n); err != nil {
		return diag.Errorf("there is no subnet %s", id)
	}
	d.SetId(id)
	for key, value := range map[string]string{"cidr_block": fmt.Sprintf("10.9.%d.0/24", n), "availability_zone": fmt.Sprintf("eu-central-1%c", 'a'+n-1)} {
		if err := d.Set(key, value); err != nil {
			return diag.FromErr(err)
		}
	}
	return nil
}
