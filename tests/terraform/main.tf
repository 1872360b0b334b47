# A key pair, a security group and one instance, as an AWS user writes them. Only the endpoints differ.
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {
  # The provider knows only AWS's own region names.
  skip_region_validation = true
}

data "aws_ami" "tiny" {
  owners = ["self"]
  filter {
    name   = "name"
    values = ["tiny"]
  }
}

resource "aws_key_pair" "main" {
  key_name   = "terraform"
  public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBjDcnbUfzVZPT0KjQgv6lZQZtSKJTBZ1PkYPHDcFWsd terraform"
}

resource "aws_security_group" "main" {
  name        = "terraform"
  description = "what terraform opens"

  ingress {
    description = "web"
    protocol    = "tcp"
    from_port   = 80
    to_port     = 80
    cidr_blocks = ["0.0.0.0/0"]
  }

  egress {
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }

  tags = { Owner = "terraform" }
}

resource "aws_instance" "main" {
  ami                    = data.aws_ami.tiny.id
  instance_type          = "t3.nano"
  key_name               = aws_key_pair.main.key_name
  vpc_security_group_ids = [aws_security_group.main.id]
  user_data              = "#!/bin/sh\necho from terraform\n"

  tags = { Name = "terraform" }
}

output "address" {
  value = aws_instance.main.public_ip
}
