# Volumes, as an AWS user writes them: one of each class, which grows, and goes from one instance to another on another
# host; a snapshot of it; and a volume from that, with limits where the provider knows of any.
variable "size" {
  type    = number
  default = 1
}

variable "backup" {
  type    = bool
  default = false
}

variable "user" {
  type    = number
  default = 0
}

locals {
  devices = { gp3 = ["/dev/sdf", "/dev/sdh"], nfs = ["/dev/sdg", "/dev/sdi"] }
  backups = var.backup ? local.devices : {}
}

resource "aws_placement_group" "apart" {
  name         = "apart"
  strategy     = "spread"
  spread_level = "host"
}

resource "aws_instance" "user" {
  count           = 2
  ami             = data.aws_ami.tiny.id
  instance_type   = "t3.nano"
  placement_group = aws_placement_group.apart.name
  user_data       = file("guest.sh")

  tags = { Name = "user-${count.index}" }
}

resource "aws_ebs_volume" "data" {
  for_each          = local.devices
  availability_zone = aws_instance.user[0].availability_zone
  size              = var.size
  type              = each.key

  tags = { Name = "data" }
}

resource "aws_volume_attachment" "data" {
  for_each    = local.devices
  device_name = each.value[0]
  volume_id   = aws_ebs_volume.data[each.key].id
  instance_id = aws_instance.user[var.user].id
}

resource "aws_ebs_snapshot" "data" {
  for_each    = local.backups
  volume_id   = aws_ebs_volume.data[each.key].id
  description = "nightly"

  tags = { Name = "nightly" }
}

resource "aws_ebs_volume" "copy" {
  for_each          = local.backups
  availability_zone = aws_instance.user[1].availability_zone
  snapshot_id       = aws_ebs_snapshot.data[each.key].id
  type              = each.key
  iops              = each.key == "gp3" ? 500 : null
  throughput        = each.key == "gp3" ? 250 : null

  tags = { Name = "copy" }
}

resource "aws_volume_attachment" "copy" {
  for_each    = local.backups
  device_name = each.value[1]
  volume_id   = aws_ebs_volume.copy[each.key].id
  instance_id = aws_instance.user[1].id
}
