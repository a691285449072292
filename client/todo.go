package client

import "errors"

var errTODO = errors.New("trunkline: not yet")
