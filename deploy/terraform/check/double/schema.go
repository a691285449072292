package main

import "github.com/hashicorp/terraform-plugin-sdk/v2/helper/schema"

// What an attribute is, as the provider's documentation says it.

func required(t schema.ValueType) *schema.Schema { return &schema.Schema{Type: t, Required: true} }
func optional(t schema.ValueType) *schema.Schema { return &schema.Schema{Type: t, Optional: true} }
func computed() *schema.Schema                   { return &schema.Schema{Type: schema.TypeString, Computed: true} }

// either is taken from the configuration, or made up.
func either() *schema.Schema {
	return &schema.Schema{Type: schema.TypeString, Optional: true, Computed: true}
}

// fixed makes a change of the attribute replace the resource.
func fixed(s *schema.Schema) *schema.Schema { s.ForceNew = true; return s }

func strings(s *schema.Schema) *schema.Schema {
	s.Elem = &schema.Schema{Type: schema.TypeString}
	return s
}

func tags() *schema.Schema { return strings(optional(schema.TypeMap)) }

// block is a nested block, at most one.
func block(attributes map[string]*schema.Schema) *schema.Schema {
	return &schema.Schema{Type: schema.TypeList, MaxItems: 1, Optional: true, Elem: &schema.Resource{Schema: attributes}}
}

func text() *schema.Schema    { return required(schema.TypeString) }
func mayText() *schema.Schema { return optional(schema.TypeString) }
func mayInt() *schema.Schema  { return optional(schema.TypeInt) }
func mayBool() *schema.Schema { return optional(schema.TypeBool) }

type attributes = map[string]*schema.Schema

func providerSchema() attributes {
	return attributes{"region": mayText(), "default_tags": block(attributes{"tags": tags()})}
}

func subnetData() attributes {
	return attributes{"id": text(), "cidr_block": computed(), "availability_zone": computed()}
}

func resources() map[string]attributes {
	all := map[string]attributes{}
	for _, part := range []map[string]attributes{network(), machines(), secrets()} {
		for name, a := range part {
			all[name] = a
		}
	}
	return all
}

func network() map[string]attributes {
	rule := func() attributes {
		return attributes{
			"security_group_id": fixed(text()), "ip_protocol": text(), "description": mayText(), "cidr_ipv4": mayText(),
			"from_port": mayInt(), "to_port": mayInt(), "referenced_security_group_id": mayText(),
		}
	}
	return map[string]attributes{
		"aws_vpc":                             {"cidr_block": fixed(mayText()), "enable_dns_support": mayBool(), "enable_dns_hostnames": mayBool(), "tags": tags()},
		"aws_subnet":                          {"vpc_id": fixed(text()), "availability_zone": fixed(either()), "cidr_block": fixed(mayText()), "tags": tags()},
		"aws_internet_gateway":                {"vpc_id": mayText(), "tags": tags()},
		"aws_route_table":                     {"vpc_id": fixed(text()), "tags": tags()},
		"aws_route":                           {"route_table_id": fixed(text()), "destination_cidr_block": fixed(mayText()), "gateway_id": mayText(), "nat_gateway_id": mayText()},
		"aws_route_table_association":         {"subnet_id": fixed(mayText()), "route_table_id": text()},
		"aws_eip":                             {"domain": fixed(mayText()), "tags": tags()},
		"aws_nat_gateway":                     {"allocation_id": fixed(mayText()), "subnet_id": fixed(mayText()), "tags": tags()},
		"aws_security_group":                  {"name": fixed(mayText()), "description": fixed(mayText()), "vpc_id": fixed(mayText()), "tags": tags()},
		"aws_vpc_security_group_ingress_rule": rule(),
		"aws_vpc_security_group_egress_rule":  rule(),
		"aws_route53_zone":                    {"name": fixed(text()), "zone_id": computed(), "vpc": block(attributes{"vpc_id": text()})},
		"aws_route53_record":                  {"zone_id": fixed(text()), "name": fixed(text()), "type": text(), "ttl": mayInt(), "records": strings(optional(schema.TypeSet))},
	}
}

func machines() map[string]attributes {
	return map[string]attributes{
		"aws_placement_group": {"name": fixed(text()), "strategy": fixed(text())},
		"aws_ebs_volume": {
			"availability_zone": fixed(text()), "type": mayText(), "size": mayInt(), "iops": mayInt(), "throughput": mayInt(), "encrypted": fixed(mayBool()),
			"kms_key_id": fixed(mayText()), "final_snapshot": mayBool(), "tags": tags(),
		},
		"aws_instance": {
			"ami": fixed(mayText()), "instance_type": mayText(), "subnet_id": fixed(mayText()), "vpc_security_group_ids": strings(optional(schema.TypeSet)),
			"placement_group": fixed(mayText()), "iam_instance_profile": mayText(), "user_data": mayText(), "ebs_optimized": fixed(mayBool()), "monitoring": mayBool(),
			"private_ip": fixed(either()), "tags": tags(),
			"metadata_options":  block(attributes{"http_endpoint": mayText(), "http_tokens": mayText()}),
			"root_block_device": block(attributes{"volume_type": mayText(), "volume_size": mayInt(), "encrypted": fixed(mayBool())}),
		},
		"aws_volume_attachment": {
			"device_name": fixed(text()), "volume_id": fixed(text()), "instance_id": fixed(text()), "stop_instance_before_detaching": mayBool(),
		},
	}
}

func secrets() map[string]attributes {
	hidden := mayText()
	hidden.WriteOnly = true
	return map[string]attributes{
		"aws_ssm_parameter": {
			"name": fixed(text()), "type": text(), "value": mayText(), "value_wo": hidden, "value_wo_version": mayInt(), "key_id": mayText(), "arn": computed(),
		},
		"aws_iam_role":                   {"name": fixed(mayText()), "assume_role_policy": text()},
		"aws_iam_role_policy":            {"name": fixed(mayText()), "role": fixed(text()), "policy": text()},
		"aws_iam_role_policy_attachment": {"role": fixed(text()), "policy_arn": fixed(text())},
		"aws_iam_instance_profile":       {"name": fixed(mayText()), "role": mayText()},
	}
}
