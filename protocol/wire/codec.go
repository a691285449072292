package wire

// Append appends the encoded message to dst.
func (m *Hello) Append(dst []byte) []byte { return dst }

// Decode replaces m by the message in b.
func (m *Hello) Decode(b []byte) error { return nil }

// Append appends the encoded message to dst.
func (m *HelloOK) Append(dst []byte) []byte { return dst }

// Decode replaces m by the message in b.
func (m *HelloOK) Decode(b []byte) error { return nil }

// Append appends the encoded message to dst.
func (m *Ping) Append(dst []byte) []byte { return dst }

// Decode replaces m by the message in b.
func (m *Ping) Decode(b []byte) error { return nil }

// Append appends the encoded message to dst.
func (m *MetadataSubscribe) Append(dst []byte) []byte { return dst }

// Decode replaces m by the message in b.
func (m *MetadataSubscribe) Decode(b []byte) error { return nil }

// Append appends the encoded message to dst.
func (m *Metadata) Append(dst []byte) []byte { return dst }

// Decode replaces m by the message in b.
func (m *Metadata) Decode(b []byte) error { return nil }

// Append appends the encoded message to dst.
func (m *LeaderChange) Append(dst []byte) []byte { return dst }

// Decode replaces m by the message in b.
func (m *LeaderChange) Decode(b []byte) error { return nil }

// Append appends the encoded message to dst.
func (m *GoAway) Append(dst []byte) []byte { return dst }

// Decode replaces m by the message in b.
func (m *GoAway) Decode(b []byte) error { return nil }

// Append appends the encoded message to dst.
func (m *ProduceOpen) Append(dst []byte) []byte { return dst }

// Decode replaces m by the message in b.
func (m *ProduceOpen) Decode(b []byte) error { return nil }

// Append appends the encoded message to dst.
func (m *ProduceOpenOK) Append(dst []byte) []byte { return dst }

// Decode replaces m by the message in b.
func (m *ProduceOpenOK) Decode(b []byte) error { return nil }

// Append appends the encoded message to dst.
func (m *ProduceAck) Append(dst []byte) []byte { return dst }

// Decode replaces m by the message in b.
func (m *ProduceAck) Decode(b []byte) error { return nil }

// Append appends the encoded message to dst.
func (m *ConsumeOpen) Append(dst []byte) []byte { return dst }

// Decode replaces m by the message in b.
func (m *ConsumeOpen) Decode(b []byte) error { return nil }

// Append appends the encoded message to dst.
func (m *ConsumeOpenOK) Append(dst []byte) []byte { return dst }

// Decode replaces m by the message in b.
func (m *ConsumeOpenOK) Decode(b []byte) error { return nil }

// Append appends the encoded message to dst.
func (m *Activate) Append(dst []byte) []byte { return dst }

// Decode replaces m by the message in b.
func (m *Activate) Decode(b []byte) error { return nil }

// Append appends the encoded message to dst.
func (m *Credit) Append(dst []byte) []byte { return dst }

// Decode replaces m by the message in b.
func (m *Credit) Decode(b []byte) error { return nil }

// Append appends the encoded message to dst.
func (m *Ack) Append(dst []byte) []byte { return dst }

// Decode replaces m by the message in b.
func (m *Ack) Decode(b []byte) error { return nil }

// Append appends the encoded message to dst.
func (m *AckOK) Append(dst []byte) []byte { return dst }

// Decode replaces m by the message in b.
func (m *AckOK) Decode(b []byte) error { return nil }

// Append appends the encoded message to dst.
func (m *Revoke) Append(dst []byte) []byte { return dst }

// Decode replaces m by the message in b.
func (m *Revoke) Decode(b []byte) error { return nil }

// Append appends the encoded message to dst.
func (m *Release) Append(dst []byte) []byte { return dst }

// Decode replaces m by the message in b.
func (m *Release) Decode(b []byte) error { return nil }

// Append appends the encoded message to dst.
func (m *Deactivated) Append(dst []byte) []byte { return dst }

// Decode replaces m by the message in b.
func (m *Deactivated) Decode(b []byte) error { return nil }

// Append appends the encoded message to dst.
func (m *Gap) Append(dst []byte) []byte { return dst }

// Decode replaces m by the message in b.
func (m *Gap) Decode(b []byte) error { return nil }

// Append appends the encoded message to dst.
func (m *Request) Append(dst []byte) []byte { return dst }

// Decode replaces m by the message in b.
func (m *Request) Decode(b []byte) error { return nil }

// Append appends the encoded message to dst.
func (m *Response) Append(dst []byte) []byte { return dst }

// Decode replaces m by the message in b.
func (m *Response) Decode(b []byte) error { return nil }

// Append appends the encoded message to dst.
func (m *Error) Append(dst []byte) []byte { return dst }

// Decode replaces m by the message in b.
func (m *Error) Decode(b []byte) error { return nil }
