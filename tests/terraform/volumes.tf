# Volumes, as an AWS user writes them: one that is attached and grows, a snapshot of it, and a volume from that with
# limits.
variable "size" {
  type    = number
  default = 1
}

resource "aws_ebs_volume" "data" {
  availability_zone = aws_instance.main.availability_zone
  size              = var.size
  type              = "gp3"

  tags = { Name = "data" }
}

resource "aws_volume_attachment" "data" {
  device_name = "/dev/sdf"
  volume_id   = aws_ebs_volume.data.id
  instance_id = aws_instance.main.id
}

resource "aws_ebs_snapshot" "data" {
  volume_id   = aws_ebs_volume.data.id
  description = "nightly"

  tags = { Name = "nightly" }
}

resource "aws_ebs_volume" "copy" {
  availability_zone = aws_instance.main.availability_zone
  snapshot_id       = aws_ebs_snapshot.data.id
  type              = "gp3"
  iops              = 500
  throughput        = 250
}
